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

FIRST_MAP_BYTES = 1 << 24  # doubled whenever it is full; on Windows the file is as big as the map


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
        needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
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
    """Makes an LMDB folder. Its map grows as needed."""

    backend = "lmdb"
    library_error = lmdb.Error
    _environment: Any = None

    def _open(self) -> None:
        self._environment = lmdb.open(
            str(self.partial), map_size=FIRST_MAP_BYTES, lock=False, sync=False
        )

    def written(self) -> Iterator[bytes]:
        with self._environment.begin() as transaction:
            yield from transaction.cursor().iternext(keys=True, values=False)

    def _write(self, records: list[Record]) -> None:
        environment = self._environment
        longest = max((key for key, _ in records), key=len, default=b"")
        if len(longest) > environment.max_key_size():
            raise DataError(
                f"{self.path}: key '{longest.decode(errors='replace')}': expected at most "
                f"{environment.max_key_size()} bytes, got {len(longest)}. Shorten the file names."
            )
        while True:
            try:
                with environment.begin(write=True) as transaction:
                    for key, value in records:
                        transaction.put(key, value)
                return
            except lmdb.MapFullError:
                environment.set_mapsize(2 * environment.info()["map_size"])

    def _close(self) -> None:
        environment, self._environment = self._environment, None
        if environment is not None:
            try:
                environment.sync(True)
            finally:
                environment.close()


READER, WRITER = LmdbDatabase, LmdbWriter
