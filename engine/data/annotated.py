"""Batches of a database's records with the boxes in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import boxes as geometry
from caffepy.engine.data import datum
from caffepy.engine.data.box_changes import BoxChanges
from caffepy.engine.data.boxes import COLUMNS, Boxes
from caffepy.engine.data.db import Database, Record
from caffepy.engine.data.feed import Feed, Images
from caffepy.engine.data.records import Names, RecordBatch, RecordSource
from caffepy.engine.data.transformer import Picture
from caffepy.proto.caffe_pb2 import AnnotatedDatum


@dataclass
class AnnotatedBatch(RecordBatch):
    """labels: (1, 1, boxes, 8), or (N, 1, 1, 1).  items: (boxes,), the image each is in."""

    items: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


class AnnotatedSource(RecordSource):
    """Makes batches as RecordSource does, with the boxes of images in place of their labels.

    boxed: None where the first record decides: with an annotation type, records have boxes.
    """

    raw_together = False

    def __init__(
        self,
        database: Database,
        feed: Feed,
        changes: BoxChanges,
        skip: int = 0,
        color: bool | None = None,
        boxed: bool | None = None,
    ) -> None:
        super().__init__(database, feed, skip, color)
        self.changes = changes
        key, value = next(database.records())
        first = datum.parse_annotated(value, f"{self.transformer.where}: {self.name(key)}")
        self.boxed = first.HasField("type") if boxed is None else boxed

    def new_labels(self, count: int) -> Any:
        return [geometry.NONE] * count if self.boxed else super().new_labels(count)

    def pictures(
        self, records: Iterable[Record], first: int, at: int, labels: Any
    ) -> Iterator[Picture]:
        for index, (key, value) in enumerate(records, at):
            name, number = self.name(key), first + index
            where = f"{self.transformer.where}: {name}"
            record = datum.parse_annotated(value, where)
            given = datum.array(record.datum, where, self.color)
            boxes = self._boxes(record, where)
            image, boxes = self.changes.changed(given, boxes, number, name)
            if self.boxed:
                view = self.transformer.view(image.shape, number, name)
                labels[index] = self.changes.placed(boxes, image.shape, view, name)
            else:
                labels[index] = self._label(record, where)
            yield name, image

    def made(self, images: Images, labels: Any, keys: Sequence[bytes]) -> AnnotatedBatch:
        names = Names(self, keys)
        if not self.boxed:
            return AnnotatedBatch(images, labels.reshape(-1, 1, 1, 1), names, keys[-1])
        counts = [len(boxes) for boxes in labels]
        rows = np.full((max(1, sum(counts)), COLUMNS), -1, self.transformer.dtype)
        start = 0
        for item, boxes in enumerate(labels):
            boxes.rows(item, rows[start : start + len(boxes)])
            start += len(boxes)
        items = np.repeat(np.arange(len(counts)), counts)
        return AnnotatedBatch(images, rows[None, None], names, keys[-1], items)

    def _boxes(self, record: AnnotatedDatum, where: str) -> Boxes:
        if not self.boxed:
            return geometry.NONE
        if not record.HasField("type") or record.type != AnnotatedDatum.BBOX:
            got = "none"
            if record.HasField("type"):
                got = AnnotatedDatum.AnnotationType.Name(record.type)
            raise DataError(
                f"{where}: expected annotations of type BBOX, as the whole database has to have, "
                f"got {got}. Make the database with convert_annoset --anno_type=detection."
            )
        return geometry.read(record, where)

    def _label(self, record: AnnotatedDatum, where: str) -> int:
        if not record.datum.HasField("label"):
            raise DataError(
                f"{where}: expected a label, since the first record has no boxes, got none. Make "
                "the database again, or give the layer one top."
            )
        return record.datum.label
