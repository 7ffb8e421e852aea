"""Databases of records under keys in byte order: LMDB and LevelDB.

database = open_db("mnist_train_lmdb", "lmdb")
for key, value in database.records(): ...

with create_db("mnist_train_lmdb", "lmdb") as writer:
    writer.put(b"00000000", datum.SerializeToString())
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import itertools
import os
import shutil
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError, DeviceError
from caffepy.engine.files import is_running

_PACKAGES = {"lmdb": "lmdb", "leveldb": "plyvel"}  # by backend
_MARKS = {"lmdb": "data.mdb", "leveldb": "CURRENT"}  # the file by which a folder is known
_UNFINISHED, _OWNER = ".unfinished", "writer"  # such folders' ending; the file of who writes them
COMMIT_RECORDS, COMMIT_BYTES = 1000, 1 << 24  # what is lost at most when a writer is killed

Record = tuple[bytes, bytes]  # key, value


# Neither library opens a database twice in one process, and train and test nets may share one.
_open_lock = threading.RLock()  # a finalizer may run within
_open_handles: dict[Path, tuple[Any, int]] = {}  # library object and number of users, by real path


def _share(real_path: Path, open_handle: Callable[[], Any]) -> Any:
    """The library's object, with one more user."""
    with _open_lock:
        handle, users = _open_handles.get(real_path, (None, 0))
        if handle is None:
            handle = open_handle()
        _open_handles[real_path] = handle, users + 1
        return handle


def _release(real_path: Path) -> None:
    """One user less; the last one closes."""
    with _open_lock:
        handle, users = _open_handles.pop(real_path)
        if users > 1:
            _open_handles[real_path] = handle, users - 1
        else:
            handle.close()


class Database(ABC):
    """A database that is open for reading. Several objects may read one database at a time."""

    backend: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        real_path = path.resolve()
        self._handle: Any = _share(real_path, lambda: self.open_handle(path))
        self._release = weakref.finalize(self, _release, real_path)
        self._release.atexit = False  # a thread may still be reading

    @staticmethod
    @abstractmethod
    def open_handle(path: Path) -> Any:
        """The library's object for the database at `path`. Raises: DataError."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of records. Slow for LevelDB, which has to look at all of them."""

    @abstractmethod
    def keys(self) -> Iterator[bytes]:
        """All keys in order."""

    @abstractmethod
    def records(self, start: bytes = b"") -> Iterator[Record]:
        """The records in order of keys, from the first key that is not before `start`.

        Raises: DataError where the database turns out to be damaged.
        """

    def close(self) -> None:
        """Gives the database back; it is closed with the last object that reads it."""
        self._handle = None
        self._release()

    def damaged(self, error: Exception) -> DataError:
        """What to raise where the library raises `error` while it reads."""
        return DataError(
            f"{self.path}: the {self.backend} database is damaged: {words(error)}. Copy or make it "
            "again."
        )


class Cursor:
    """Reads a database round and round: the first record follows the last."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._records = database.records()

    def read(self) -> Record:
        """The next record."""
        record = next(self._records, None)
        if record is None:
            self._records = self.database.records()
            record = next(self._records)
        return record

    def take(self, count: int) -> list[Record]:
        """The next records, `count` of them."""
        records = list(itertools.islice(self._records, count))
        while len(records) < count:
            records.append(self.read())
            records += itertools.islice(self._records, count - len(records))
        return records

    def seek(self, position: int) -> None:
        """Makes record number `position` the next one, counted round and round from 0."""
        start = b""
        if position:
            place = position % self.database.count
            start = next(itertools.islice(self.database.keys(), place, None))
        self._records = self.database.records(start)

    def seek_key(self, key: bytes) -> None:
        """Makes the record of `key`, which there is, the next one."""
        self._records = self.database.records(key)

    def seek_after(self, key: bytes) -> bool:
        """Makes the record that follows `key` the next one. False where there is no such key."""
        records = self.database.records(key)
        found = next(records, None)
        if found is None or found[0] != key:
            return False
        self._records = records
        return True


class Writer(ABC):
    """A new database, to be filled in a `with` block.

    It is written beside its final place and moved there at the end of the block; where the block
    ends with an exception nothing is left behind.

    resume: a word without dots that says what is being written. With it, an interrupted block (a
    signal, not an error) leaves its records for the next writer of the same word, as `written`
    tells.
    """

    backend: ClassVar[str]
    library_error: ClassVar[type[Exception]]

    def __init__(self, path: Path, resume: str = "") -> None:
        self.path = path
        self.resume = resume
        self.partial = path.with_name(
            f".{path.name}.{resume}{_UNFINISHED}"
            if resume
            else f".{path.name}.{os.getpid()}.partial"
        )
        self._waiting = self._waiting_bytes = 0  # since the last commit

    def put(self, key: bytes, value: bytes | bytearray) -> None:
        """Adds a record; one with the same key is replaced."""
        with self._errors():
            self._put(key, value)
        self._waiting += 1
        self._waiting_bytes += len(value)
        if self._waiting >= COMMIT_RECORDS or self._waiting_bytes >= COMMIT_BYTES:
            self._flush()

    def __enter__(self) -> Writer:
        with self._errors():
            if self.resume:
                self._claim()
            else:
                self.partial.mkdir()
            try:
                self._open()
            except BaseException:
                self._discard()
                raise
        log.info(f"Opened {self.backend} {self.path}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        try:
            if kind is None or (interrupted and self.resume):
                self._flush()
            if kind is None:
                with self._errors():
                    self._close()
                    (self.partial / _OWNER).unlink(missing_ok=True)
                    self.partial.rename(self.path)
        finally:
            with contextlib.suppress(OSError, self.library_error):  # what came first is told
                self._close()
            if not (interrupted and self.resume):
                self._discard()

    @abstractmethod
    def written(self) -> Iterator[bytes]:
        """The keys that are in the database, in order; not those put since the last commit."""

    @abstractmethod
    def _open(self) -> None:
        """Makes the database in `partial`."""

    @abstractmethod
    def _put(self, key: bytes, value: bytes | bytearray) -> None:
        """Adds a record, for the next commit at the latest."""

    @abstractmethod
    def _commit(self) -> None:
        """Makes the records put so far part of the database, all or none."""

    @abstractmethod
    def _close(self) -> None:
        """Ends writing; may be called again."""

    def _claim(self) -> None:
        """Takes over what a writer that is gone has left, and removes what others have that wrote
        something else to this place."""
        start = f".{self.path.name}."
        for folder in self.path.parent.glob(f"{glob.escape(start)}*{_UNFINISHED}"):
            if "." in folder.name[len(start) : -len(_UNFINISHED)]:  # of another, longer name
                continue
            with contextlib.suppress(FileNotFoundError, ValueError):  # it ended in between
                owner = int((folder / _OWNER).read_text())
                if is_running(owner):
                    raise DataError(
                        f"{self.path}: expected a database that nobody writes, got one that "
                        f"process {owner} is writing. Wait for it, or end it."
                    )
            if folder != self.partial:
                shutil.rmtree(folder, ignore_errors=True)
        self.partial.mkdir(exist_ok=True)
        (self.partial / _OWNER).write_text(str(os.getpid()))

    def _flush(self) -> None:
        self._waiting = self._waiting_bytes = 0
        with self._errors():
            self._commit()

    def _discard(self) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns what the libraries and the file system raise into a DataError."""
        try:
            yield
        except (OSError, self.library_error) as error:
            raise DataError(
                f"{self.path}: the {self.backend} database cannot be written: {words(error)}."
            ) from None


def open_db(path: str | os.PathLike[str], backend: str) -> Database:
    """Opens a database for reading. backend: "lmdb" or "leveldb", in any case.

    Raises: DataError where it is missing, empty, damaged, or of another kind; DeviceError where the
    backend's library is not installed.
    """
    place, name = Path(path), _known(path, backend)
    _check_place(place, name)
    database: Database = _module(name).READER(place)
    try:
        if next(database.keys(), None) is None:
            raise DataError(
                f"{place}: expected a database with records, got an empty one. Make it again and "
                "look at what the program that writes it says."
            )
    except BaseException:
        database.close()
        raise
    log.info(f"Opened {name} {place}")
    return database


def create_db(path: str | os.PathLike[str], backend: str, resume: str = "") -> Writer:
    """A writer that makes a new database. backend: "lmdb" or "leveldb", in any case.

    resume: as in `Writer`.

    Raises: DataError where something exists at `path` or the folder above does not.
    """
    place, name = Path(path), _known(path, backend)
    if place.exists():
        raise DataError(
            f"{place}: expected the name of a new database, got one that exists. Remove it, or "
            "name another."
        )
    if not place.parent.is_dir():
        raise DataError(f"{place}: the folder '{place.parent}' does not exist. Make it first.")
    writer: Writer = _module(name).WRITER(place, resume)
    return writer


def words(error: Exception) -> str:
    """What a library says, on one line (plyvel's messages are bytes)."""
    first = error.args[0] if error.args else ""
    text = first.decode(errors="replace") if isinstance(first, bytes) else str(error)
    return " ".join(text.split()) or type(error).__name__


def _known(path: object, backend: str) -> str:
    if backend.lower() not in _PACKAGES:
        raise DataError(
            f"{path}: expected a backend of {', '.join(_PACKAGES)}, got '{backend}'. Choose one."
        )
    return backend.lower()


def _module(backend: str) -> Any:
    """The module of a backend, which imports its library."""
    package = _PACKAGES[backend]
    try:
        return importlib.import_module(f"caffepy.engine.data.db_{backend}")
    except ImportError as error:
        raise DeviceError(
            f"backend {backend}: the package {package} is missing ({error}). Run `pip install "
            f"{package}`, or use a database of the other backend."
        ) from None


def _check_place(path: Path, backend: str) -> None:
    """Refuses what is no database of this kind, before a library touches it."""
    if not path.exists():
        raise DataError(
            f"{path}: expected the folder of a database ({backend}), got nothing there. Fix "
            "the path, or make the database."
        )
    if path.is_dir() and (path / _MARKS[backend]).is_file():
        return
    other = next(name for name in _MARKS if name != backend)
    if (path / _MARKS[other]).is_file():
        raise DataError(
            f"{path}: expected a database of {backend}, got one of {other}. Set `backend: "
            f"{other.upper()}`, or `--backend {other}`."
        )
    raise DataError(
        f"{path}: expected the folder of a database ({backend}), got "
        f"{'a folder' if path.is_dir() else 'a file'} without a {_MARKS[backend]}. Fix the path."
    )
