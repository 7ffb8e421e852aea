"""Batches of transformed records of a database."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum
from caffepy.engine.data.db import Cursor, Database
from caffepy.engine.data.feed import Feed
from caffepy.engine.data.pipeline import Batch
from caffepy.proto.caffe_pb2 import Datum


@dataclass
class RecordBatch(Batch):
    """last_key: of the last record."""

    last_key: bytes


class RecordSource:
    """Makes batches of a database's records, which follow each other round and round.

    skip: how many records stand before sample number 0.  color: how encoded images are decoded (see
    `datum.array`).
    """

    def __init__(
        self, database: Database, feed: Feed, skip: int = 0, color: bool | None = None
    ) -> None:
        self.database = database
        self.feed = feed
        self.transformer = feed.transformer
        self.skip = skip
        self.color = color
        self._cursor = Cursor(database)
        self._next = -skip  # the sample that the cursor stands before
        self._after: tuple[int, bytes] | None = None

    def first_record(self) -> tuple[Datum, tuple[int, ...]]:
        """The database's first record and its transformed shape (C, H, W)."""
        key, value = next(self.database.records())
        name = self._name(key)
        where = f"{self.transformer.where}: {name}"
        record = datum.parse(value, where)
        image = datum.array(record, where, self.color)
        return record, self.transformer.shape(image.shape, name)

    def follow(self, first: int, key: bytes) -> None:
        """Says that the record after `key` is sample number `first`, which saves counting there."""
        self._after = first, key

    def batch(self, first: int, count: int) -> RecordBatch:
        """Samples number `first` to `first + count - 1`.

        Raises: DataError for a record that does not fit, naming its key.
        """
        self._go_to(first)
        images, labels, names, key = [], np.empty(count, self.transformer.dtype), [], b""
        for index in range(count):
            key, value = self._cursor.read()
            name = self._name(key)
            where = f"{self.transformer.where}: {name}"
            record = datum.parse(value, where)
            images.append(datum.array(record, where, self.color))
            labels[index] = record.label
            names.append(name)
        batch = RecordBatch(self.feed.batch(images, first, names), labels, names, key)
        self._next = first + count
        return batch

    def close(self) -> None:
        self.database.close()

    def _go_to(self, first: int) -> None:
        after = self._after
        if after is not None and after[0] == first:
            self._after = None
            if not self._cursor.seek_after(after[1]):
                raise DataError(
                    f"{self.transformer.where}: '{self.database.path}': expected the record "
                    f"'{_readable(after[1])}', with which the snapshot ends, got none of this key. "
                    "Resume with the database that the snapshot was made with."
                )
        elif first != self._next:
            self._cursor.seek(first + self.skip)
        self._next = -1 - self.skip  # unknown until the batch is made

    def _name(self, key: bytes) -> str:
        return f"record '{_readable(key)}' of '{self.database.path}'"


def _readable(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
