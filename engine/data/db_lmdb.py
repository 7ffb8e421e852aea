"""LMDB, through the package lmdb. Imported when an LMDB is opened or made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb

from caffepy.engine.core.errors import DataError
from caffepy.engine.data.db import Database, Record, Writer, words
from caffepy.engine.data.reserved_file import ReservedFile

# The map of a new database is doubled when it is full, and grows by no more than MOST_GROWTH. On
# Windows, and where disk space is reserved, the file is as big as the map while it is written.
FIRST_MAP_BYTES, MOST_GROWTH = 1 << 24, 1 << 28
# What a record takes at most besides its own bytes: pages of the tree that are written anew.
PAGES_PER_RECORD, SPARE_PAGES = 8, 64


class LmdbDatabase(Database):
    """An LMDB folder."""

    backend = "lmdb"

    @staticmethod
    def open_handle(path: Path) -> Any:
        # Without a lock file nobody writes: none is made, which read-only folders would not allow.
        lock = (path / "lock.mdb").exists() and os.access(path / "lock.mdb", os.W_OK)
        size = (path / "data.mdb").stat().st_size
        if not size:
            raise DataError(
                f"{path}: data.mdb: expected an lmdb database, got an empty file. Copy or make it "
                "again."
            )
        try:
            environment = lmdb.open(str(path), readonly=True, lock=lock, create=False)
        except lmdb.Error as error:
            raise DataError(
                f"{path}: cannot be opened as an lmdb database: {words(error)}. Copy or make "
                "it again."
            ) from None
        needed = _used(environment)
        if size < needed:  # reading beyond the end of a mapped file kills the process
            environment.close()
            raise DataError(
                f"{path}: data.mdb: expected {needed} bytes, got {size}: the file is cut off. Copy "
                "or make it again."
            )
        return environment

    @property
    def count(self) -> int:
        return int(self._handle.stat()["entries"])

    def keys(self) -> Iterator[bytes]:
        return self._walk(b"", values=False)

    def records(self, start: bytes = b"") -> Iterator[Record]:
        return self._walk(start, values=True)

    def _walk(self, start: bytes, values: bool) -> Iterator[Any]:
        try:
            transaction = self._handle.begin()
            try:
                cursor = transaction.cursor()
                if not start or cursor.set_range(start):
                    yield from cursor.iternext(keys=True, values=values)
            finally:
                with contextlib.suppress(lmdb.Error):  # the database may be closed by now
                    transaction.abort()
        except lmdb.Error as error:
            raise self.damaged(error) from None


class LmdbWriter(Writer):
    """Makes an LMDB folder. Its map grows as needed.

    Where disk space can be reserved, records are written to the map itself, which takes a third of
    the time.
    """

    backend = "lmdb"
    library_error = lmdb.Error
    _environment: Any = None
    _transaction: Any = None
    _file: ReservedFile | None = None  # where the map is written to

    def _open(self) -> None:
        direct = ReservedFile.possible(self.partial)
        self._environment = lmdb.open(
            str(self.partial), map_size=FIRST_MAP_BYTES, lock=False, sync=False, writemap=direct
        )
        if direct:
            self._file = ReservedFile(self.partial / "data.mdb")
            self._file.reserve(self._environment.info()["map_size"])
        self._page = self._environment.stat()["psize"]
        self._free = 0  # of the map, for the transaction
        self._unsynced = 0  # bytes of its records

    def written(self) -> Iterator[bytes]:
        with self._environment.begin() as transaction:
            yield from transaction.cursor().iternext(keys=True, values=False)

    def _put(self, key: bytes, value: bytes | bytearray) -> None:
        environment = self._environment
        if len(key) > environment.max_key_size():
            raise DataError(
                f"{self.path}: key '{key.decode(errors='replace')}': expected at most "
                f"{environment.max_key_size()} bytes, got {len(key)}. Shorten the file names."
            )
        needed = len(value) + PAGES_PER_RECORD * self._page
        if self._transaction is None or needed > self._free:
            self._begin(needed)
        self._free -= needed
        self._unsynced += len(value)
        self._transaction.put(key, value)

    def _begin(self, needed: int) -> None:
        """Begins a transaction with room for so many bytes."""
        self._commit()
        environment = self._environment
        size = environment.info()["map_size"]
        self._free = size - _used(environment) - SPARE_PAGES * self._page
        if self._free < needed:
            growth = max(needed - self._free, min(size, MOST_GROWTH))
            if self._file is not None:
                self._file.reserve(size + growth)
            environment.set_mapsize(size + growth)
            self._free += growth
        self._transaction = environment.begin(write=True)

    def _commit(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.commit()
            if self._file is not None:
                self._file.written(self._unsynced)
            self._unsynced = 0

    def _close(self) -> None:
        environment, self._environment = self._environment, None
        file, self._file = self._file, None
        transaction, self._transaction = self._transaction, None
        used: int | None = None
        try:
            if environment is not None:
                try:
                    if transaction is not None:
                        transaction.abort()
                    environment.sync(True)
                    used = _used(environment)
                finally:
                    environment.close()
        finally:
            if file is not None:
                file.close(used)


def _used(environment: Any) -> int:
    """The bytes of a database's file that hold something."""
    return int((environment.info()["last_pgno"] + 1) * environment.stat()["psize"])


READER, WRITER = LmdbDatabase, LmdbWriter
