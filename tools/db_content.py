"""What is inside a database."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum
from caffepy.engine.data.db import Database, open_db
from caffepy.proto.caffe_pb2 import AnnotatedDatum, Datum
from caffepy.tools.array_statistics import measure
from caffepy.tools.file_content import Content, Entry

LISTED = 8  # shapes and labels that are told one by one


def read_database(path: Path, backend: str, limit: int, tell: Callable[[], None]) -> Content:
    """The content of a database, of which the first `limit` records are looked at, all for 0.

    tell: called for each record that is looked at.  Raises: DataError.
    """
    database = open_db(path, backend)
    try:
        return _content(database, limit, tell)
    finally:
        database.close()


def _content(database: Database, limit: int, tell: Callable[[], None]) -> Content:
    keys = database.keys()
    first = last = next(keys)
    count = 1
    for key in keys:
        last, count = key, count + 1
    facts: dict[str, Any] = {
        "records": count,
        "first key": first.decode("utf-8", "backslashreplace"),
        "last key": last.decode("utf-8", "backslashreplace"),
        "looked at": min(count, limit or count),
    }
    shapes: Counter[tuple[int, ...]] = Counter()
    labels: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    dtypes: set[str] = set()
    boxes = _Boxes()
    try:
        for record, kind, array in _records(database, limit, boxes):
            shapes[array.shape] += 1
            labels[record.label] += 1
            kinds[kind] += 1
            dtypes.add(str(array.dtype))
            tell()
    except DataError as error:
        if shapes:
            raise
        return Content(f"database ({database.backend})", {**facts, "no Datum": str(error)})
    facts.update(Datum=_counted(kinds), shapes=_counted(shapes), labels=_counted(labels))
    facts.update(boxes.facts())
    shape = next(iter(shapes)) if len(shapes) == 1 else ()
    numbers = measure(lambda: (array for _, _, array in _records(database, limit)))
    entry = Entry("data", "Datum", shape, ", ".join(sorted(dtypes)), numbers)
    return Content(f"database ({database.backend})", facts, [entry])


class _Boxes:
    """Counts the boxes of annotated records."""

    def __init__(self) -> None:
        self._labels: Counter[int] = Counter()
        self._difficult = self._images = self._without = 0

    def add(self, record: AnnotatedDatum) -> None:
        if not record.HasField("type"):
            return
        self._images += 1
        found = [
            (group.group_label, one)
            for group in record.annotation_group
            for one in group.annotation
        ]
        self._without += not found
        self._labels.update(label for label, _ in found)
        self._difficult += sum(one.bbox.difficult for _, one in found)

    def facts(self) -> dict[str, Any]:
        if not self._images:
            return {}
        return {
            "boxes": self._labels.total(),
            "labels of boxes": _counted(self._labels),
            "difficult boxes": self._difficult,
            "images without boxes": self._without,
        }


def _records(
    database: Database, limit: int, boxes: _Boxes | None = None
) -> Iterator[tuple[Datum, str, np.ndarray]]:
    """Datum, its kind and (C, H, W) of each record that is looked at. boxes: where to count those.

    Raises: DataError.
    """
    for key, value in itertools.islice(database.records(), limit or None):
        where = f"record '{key.decode('utf-8', 'backslashreplace')}' of '{database.path}'"
        annotated = datum.parse_annotated(value, where)
        record = annotated.datum
        if boxes is not None:
            boxes.add(annotated)
        kind = "image file" if record.encoded else "floats" if record.float_data else "raw"
        if datum.is_annotated(value):  # as the SSD family's are
            kind = "annotated image"
        yield record, kind, datum.array(record, where)


def _counted(counter: Counter[Any]) -> dict[str, int]:
    """What was counted, most first, with what is too much to tell as one."""
    told = {_word(name): count for name, count in counter.most_common(LISTED)}
    rest = len(counter) - len(told)
    if rest:
        told[f"{rest} more"] = counter.total() - sum(told.values())
    return told


def _word(name: object) -> str:
    return " x ".join(map(str, name)) if isinstance(name, tuple) else str(name)
