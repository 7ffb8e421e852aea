"""LevelDB, through the package plyvel. Imported when a LevelDB is opened or made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plyvel

from caffepy.engine.core.errors import DataError
from caffepy.engine.data.db import Database, Record, Writer, words


class LevelDbDatabase(Database):
    """A LevelDB folder."""

    backend = "leveldb"
    _count: int | None = None

    @staticmethod
    def open_handle(path: Path) -> Any:
        try:
            return plyvel.DB(
                str(path),
                create_if_missing=False,
                paranoid_checks=True,  # else damaged records of its log are left out without a word
                max_open_files=100,
            )
        except plyvel.Error as error:
            raise DataError(
                f"{path}: cannot be opened as a leveldb database: {words(error)}. LevelDB needs "
                "a folder that it may write to and that no other process has open. A damaged "
                "database has to be made again."
            ) from None

    @property
    def count(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self.keys())
        return self._count

    def keys(self) -> Iterator[bytes]:
        return self._walk(b"", "key")

    def records(self, start: bytes = b"") -> Iterator[Record]:
        return self._walk(start, "item")

    def _walk(self, start: bytes, part: str) -> Iterator[Any]:
        # the raw iterator: plyvel's other one stops at a damaged block without a word
        try:
            with self._handle.raw_iterator(verify_checksums=True) as iterator:
                iterator.seek(start)
                take = getattr(iterator, part)
                while iterator.valid():
                    yield take()
                    iterator.next()
        except plyvel.Error as error:
            raise self.damaged(error) from None


class LevelDbWriter(Writer):
    """Makes a LevelDB folder, with Caffe's sizes."""

    backend = "leveldb"
    library_error = plyvel.Error
    _database: Any = None

    def _open(self) -> None:
        self._database = plyvel.DB(
            str(self.partial),
            create_if_missing=True,
            error_if_exists=not self.resume,
            write_buffer_size=1 << 28,
            block_size=1 << 16,
        )
        self._batch = self._database.write_batch()

    def written(self) -> Iterator[bytes]:
        yield from self._database.iterator(include_value=False)

    def _put(self, key: bytes, value: bytes | bytearray) -> None:
        self._batch.put(key, bytes(value))  # as it is where it is bytes already

    def _commit(self) -> None:
        self._batch.write()
        self._batch.clear()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


READER, WRITER = LevelDbDatabase, LevelDbWriter
