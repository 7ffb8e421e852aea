"""Batches of transformed records of a database."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum, raw_records
from caffepy.engine.data.db import Cursor, Database, Record
from caffepy.engine.data.feed import Feed, Images
from caffepy.engine.data.pipeline import Batch, Part, Work, done
from caffepy.engine.data.transformer import Picture
from caffepy.proto.caffe_pb2 import Datum

PART_BYTES = 1 << 19  # of records that one thread turns into images at a time


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

    raw_together = True  # whether raw records are read many at a time, without `pictures`

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
        self._together = 1  # records that are taken at a time

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

    def begin(self, first: int, count: int) -> Work[RecordBatch]:
        """The work on samples number `first` to `first + count - 1`.

        Raises: DataError where a snapshot's last record is not there.
        """
        self._go_to(first)
        return RecordWork(self, first, count)

    def batch(self, first: int, count: int) -> RecordBatch:
        """Samples number `first` to `first + count - 1`.

        Raises: DataError for a record that does not fit, naming its key.
        """
        return done(self.begin(first, count))

    def take(self, most: int) -> list[Record]:
        """The next records, about PART_BYTES of them; `reached` tells where the last ones end."""
        records = self._records.take(min(self._together, most))
        size = sum(len(value) for _, value in records)
        self._together = max(1, PART_BYTES * len(records) // max(1, size))
        return records

    def reached(self, sample: int) -> None:
        """All samples before this one have been read, and none after it."""
        self._next = sample

    def again(self, first: int, count: int, key: bytes | None) -> RecordBatch:
        """The batch that begins with the record of `key`, where that is known, one record after the
        other. Raises: as `batch`."""
        records = Cursor(self.database)
        if key is None:
            records.seek(first + self.skip)
        else:
            records.seek_key(key)
        labels, keys = self.new_labels(count), list[bytes]()

        def one_by_one() -> Iterator[Record]:
            for _ in range(count):
                record = records.read()
                keys.append(record[0])
                yield record

        images = self.feed.batch(self.pictures(one_by_one(), first, 0, labels), first, count)
        return self.made(images, labels, keys)

    def new_labels(self, count: int) -> Any:
        """What `pictures` puts the labels of a batch into."""
        return np.empty(count, self.transformer.dtype)

    def pictures(
        self, records: Iterable[Record], first: int, at: int, labels: Any
    ) -> Iterator[Picture]:
        """The images of records, whose labels go to `labels` from index `at` on. first: number of
        the batch's first sample. Raises: as `read`."""
        for index, (key, value) in enumerate(records, at):
            name, labels[index], image = self.read(key, value)
            yield name, image

    def made(self, images: Images, labels: Any, keys: Sequence[bytes]) -> RecordBatch:
        """The batch."""
        return RecordBatch(images, labels, Names(self, keys), keys[-1])

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


class RecordWork:
    """The work on a batch of records."""

    def __init__(self, source: RecordSource, first: int, count: int) -> None:
        self.source = source
        self.first = first
        self.count = count
        self.keys: list[bytes] = []  # of what was read
        self.canvas = source.feed.canvas(count)
        self.labels = source.new_labels(count)

    def read(self) -> Part | None:
        at = len(self.keys)
        if at == self.count:
            self.source.reached(self.first + self.count)
            return None
        records = self.source.take(self.count - at)
        self.keys += (key for key, _ in records)
        return functools.partial(self._make, at, records)

    def finish(self) -> RecordBatch:
        return self.source.made(self.canvas.images, self.labels, self.keys)

    def again(self) -> RecordBatch:
        self.canvas.give_up()
        return self.source.again(self.first, self.count, self.keys[0] if self.keys else None)

    def _make(self, at: int, records: list[Record]) -> None:
        """Fills in records from index `at` on."""
        if self.source.raw_together:
            raw = raw_records.read([value for _, value in records])
            if raw is not None:
                self.labels[at : at + len(records)] = raw.labels
                self.canvas.fill_alike(
                    raw.images, lambda index: self.source.name(records[index][0]), self.first, at
                )
                return
        pictures = self.source.pictures(records, self.first, at, self.labels)
        self.canvas.fill(pictures, self.first, at, len(records))


class Names(Sequence[str]):
    """The names of records, made when they are asked for."""

    def __init__(self, source: RecordSource, keys: Sequence[bytes]) -> None:
        self.keys = keys
        self._source = source

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return Names(self._source, self.keys[index])
        return self._source.name(self.keys[index])

    def __len__(self) -> int:
        return len(self.keys)


def _readable(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
