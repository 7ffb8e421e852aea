"""Batches of transformed records of a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum
from caffepy.engine.data.db import Cursor, Database
from caffepy.engine.data.feed import Feed
from caffepy.engine.data.pipeline import Batch
from caffepy.engine.data.transformer import Picture
from caffepy.proto.caffe_pb2 import Datum


@dataclass
class RecordBatch(Batch):
    """last_key: of the last record."""

    last_key: bytes


class Places(Protocol):
    """What can be moved along the records, as a Cursor."""

    def seek(self, position: int) -> None:
        """Makes record number `position` the next one, counted round and round from 0."""

    def seek_after(self, key: bytes) -> bool:
        """Makes the record that follows `key` the next one. False where there is no such key."""


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
        self._records = Cursor(database)
        self._cursor: Places = self._records
        self._next = -skip  # the sample that the cursor stands before
        self._after: tuple[int, bytes] | None = None

    def first_record(self) -> tuple[Datum, tuple[int, ...]]:
        """The database's first record and its transformed shape (C, H, W)."""
        key, value = next(self.database.records())
        name = self.name(key)
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
        batch = self._made(first, count)
        self._next = first + count
        return batch

    def read(self, key: bytes, value: bytes) -> tuple[str, int, np.ndarray]:
        """The name of a record, for messages, its label, and its image (C, H, W).

        Raises: DataError where it cannot be read, naming its key.
        """
        name = self.name(key)
        where = f"{self.transformer.where}: {name}"
        record = datum.parse(value, where)
        return name, record.label, datum.array(record, where, self.color)

    def name(self, key: bytes) -> str:
        """What messages call the record of a key."""
        return f"record '{_readable(key)}' of '{self.database.path}'"

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

    def _made(self, first: int, count: int) -> RecordBatch:
        """The batch of the records from the cursor on."""
        labels, names, key = np.empty(count, self.transformer.dtype), list[str](), b""

        def pictures() -> Iterator[Picture]:
            nonlocal key
            for index in range(count):
                key, value = self._records.read()
                name, labels[index], image = self.read(key, value)
                names.append(name)
                yield name, image

        images = self.feed.batch(pictures(), first, count)
        return RecordBatch(images, labels, names, key)


def _readable(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
