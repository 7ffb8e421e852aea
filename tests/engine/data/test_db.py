"""Databases: reading and writing LMDB and LevelDB."""

from __future__ import annotations

import builtins
import errno
import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from caffepy.engine.core.errors import DataError, DeviceError
from caffepy.engine.data import db, db_lmdb, reserved_file
from caffepy.engine.data.db import Cursor, create_db, open_db

BACKENDS = ["lmdb", "leveldb"]
RECORDS = [(b"%08d" % index, b"value %d" % index) for index in range(10)]


def written(path: Path, backend: str, records: Any = RECORDS) -> Path:
    with create_db(path, backend) as writer:
        for key, value in records:
            writer.put(key, value)
    return path


@pytest.mark.parametrize("backend", BACKENDS)
def test_records_come_back_in_order_of_keys(tmp_path: Path, backend: str) -> None:
    database = open_db(written(tmp_path / "db", backend, reversed(RECORDS)), backend.upper())
    assert list(database.records()) == RECORDS
    assert list(database.records(b"00000007")) == RECORDS[7:]
    assert list(database.records(b"00000007x")) == RECORDS[8:]
    assert list(database.records(b"1")) == []
    assert list(database.keys()) == [key for key, _ in RECORDS]
    assert database.count == 10
    assert [entry.name for entry in tmp_path.iterdir()] == ["db"]
    database.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cursor_goes_round_and_round(tmp_path: Path, backend: str) -> None:
    database = open_db(written(tmp_path / "db", backend), backend)
    cursor = Cursor(database)
    expected = [key for key, _ in RECORDS] * 3
    assert [cursor.read()[0] for _ in range(25)] == expected[:25]
    for position in (0, 9, 10, 23):
        cursor.seek(position)
        assert [cursor.read()[0] for _ in range(4)] == expected[position % 10 :][:4]
    assert cursor.seek_after(b"00000009")
    assert cursor.read() == RECORDS[0]
    assert not cursor.seek_after(b"0000000")
    assert cursor.read() == RECORDS[1], "an unknown key changes nothing"
    database.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_readers_share_one_database(tmp_path: Path, backend: str) -> None:
    path = written(tmp_path / "db", backend)
    first, second = open_db(path, backend), open_db(path, backend)
    for one, other in itertools.islice(zip(first.records(), second.records()), 3):
        assert one == other
    first.close()
    first.close()
    assert list(second.records()) == RECORDS
    second.close()
    shutil.rmtree(path)
    again = open_db(written(path, backend, RECORDS[:2]), backend)
    assert list(again.records()) == RECORDS[:2], "a database is closed by its last reader"
    del again
    shutil.rmtree(path)
    last = open_db(written(path, backend, RECORDS[:3]), backend)
    assert list(last.records()) == RECORDS[:3], "a forgotten reader counts no more"
    last.close()


def test_the_map_of_an_lmdb_grows_as_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_lmdb, "FIRST_MAP_BYTES", 1 << 15)
    records = [(b"%08d" % index, bytes(20_000)) for index in range(50)]
    database = open_db(written(tmp_path / "db", "lmdb", records), "lmdb")
    assert list(database.records()) == records
    database.close()


@pytest.mark.parametrize("size", [10, 5000, 3_000_000])
def test_an_lmdb_is_no_bigger_than_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(reserved_file, "SYNC_BYTES", 1 << 14)
    monkeypatch.setattr(reserved_file.os, "fsync", synced.append)
    monkeypatch.setattr(db, "COMMIT_BYTES", 1 << 13)
    records = [(b"%08d" % index, bytes([index]) * size) for index in range(9)]
    path = written(tmp_path / "db", "lmdb", records)
    environment = lmdb.open(str(path), readonly=True, lock=False)
    pages = environment.info()["last_pgno"] + 1
    assert (path / "data.mdb").stat().st_size == pages * environment.stat()["psize"]
    assert dict(environment.begin().cursor().iternext()) == dict(records)
    environment.close()
    assert len(synced) > (size > 1 << 14), "while it was written, and at its end"


def test_records_larger_than_the_map_and_keys_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_lmdb, "FIRST_MAP_BYTES", 1 << 15)
    monkeypatch.setattr(db, "COMMIT_RECORDS", 700)
    monkeypatch.setattr(db_lmdb, "MOST_GROWTH", 1 << 16)
    keys = [b"%06d%s" % (number * 7919 % 5000, b"x" * 300) for number in range(5000)]
    database = open_db(
        written(
            tmp_path / "db",
            "lmdb",
            [(key, key[:6] * (index % 400)) for index, key in enumerate(keys)],
        ),
        "lmdb",
    )
    assert list(database.keys()) == sorted(keys)
    database.close()


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reserve(file: int, offset: int, size: int) -> None:
        if size > 1 << 24:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(reserved_file.os, "posix_fallocate", reserve)
    with pytest.raises(DataError, match=r"db: the lmdb database cannot be written: .*No space"):
        written(tmp_path / "db", "lmdb", [(b"%d" % index, bytes(1 << 20)) for index in range(40)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("support", ["not in the system", "not of this folder"])
def test_where_no_space_can_be_reserved_an_lmdb_is_written_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, support: str
) -> None:
    def reserve(file: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if support == "not of this folder":
        monkeypatch.setattr(reserved_file.os, "posix_fallocate", reserve)
    else:
        monkeypatch.delattr(reserved_file.os, "posix_fallocate")
    records = [(b"%08d" % index, bytes(1 << 20)) for index in range(20)]
    database = open_db(written(tmp_path / "db", "lmdb", records), "lmdb")
    assert list(database.records()) == records
    database.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_exception_leaves_nothing_behind(tmp_path: Path, backend: str) -> None:
    def interrupted() -> Iterator[tuple[bytes, bytes]]:
        yield b"key", b"value"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "db", backend, interrupted())
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fails_when_the_database_is_closed_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    class Failing:
        """An environment whose file does not reach the disk."""

        closed = False

        def sync(self, force: bool) -> None:
            raise lmdb.DiskError("no space left")

        def close(self) -> None:
            self.closed = True

    def fill() -> None:
        with create_db(tmp_path / "db", "lmdb") as writer:
            assert isinstance(writer, db_lmdb.LmdbWriter)
            writer._environment.close()
            writer._environment = environment

    environment = Failing()
    with pytest.raises(DataError, match="db: the lmdb database cannot be written: no space left"):
        fill()
    assert environment.closed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_existing_place_is_not_overwritten(tmp_path: Path, backend: str) -> None:
    with pytest.raises(DataError, match="got one that exists"):
        create_db(tmp_path, backend)
    with pytest.raises(DataError, match=r"folder '.*none' does not exist"):
        create_db(tmp_path / "none" / "db", backend)


def test_a_key_that_lmdb_cannot_hold_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"key 'xxx.*expected at most 511 bytes, got 600"):
        written(tmp_path / "db", "lmdb", [(b"x" * 600, b"")])
    with pytest.raises(DataError, match="cannot be written"):
        written(tmp_path / "db", "lmdb", [(b"", b"")])


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_no_database_is_refused(tmp_path: Path, backend: str) -> None:
    with pytest.raises(DataError, match="got nothing there"):
        open_db(tmp_path / "none", backend)
    assert not (tmp_path / "none").exists()
    with pytest.raises(DataError, match="got a folder without a"):
        open_db(tmp_path, backend)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="got a file without a"):
        open_db(tmp_path / "file", backend)
    with pytest.raises(DataError, match="expected a database with records, got an empty one"):
        open_db(written(tmp_path / "empty", backend, []), backend)
    with pytest.raises(DataError, match="expected a backend of lmdb, leveldb, got 'hdf5'"):
        open_db(tmp_path, "hdf5")


@pytest.mark.parametrize(("made", "asked"), [BACKENDS, BACKENDS[::-1]])
def test_the_other_backend_is_recognised(tmp_path: Path, made: str, asked: str) -> None:
    path = written(tmp_path / "db", made)
    with pytest.raises(DataError, match=f"got one of {made}. Set `backend: {made.upper()}`"):
        open_db(path, asked)


@pytest.mark.parametrize("size", [0, 100, 5000, 20_000])
def test_a_cut_lmdb_is_refused(tmp_path: Path, size: int) -> None:
    path = written(tmp_path / "db", "lmdb", [(key, value * 1000) for key, value in RECORDS])
    os.truncate(path / "data.mdb", size)
    with pytest.raises(
        DataError, match=r"db: (data\.mdb: expected (\d+ bytes|an lmdb)|cannot be opened)"
    ):
        open_db(path, "lmdb")


def test_a_damaged_leveldb_is_refused(tmp_path: Path, golden: Path) -> None:
    for name, message in (("MANIFEST-000007", "cannot be opened"), ("000005.ldb", "is damaged")):
        path = shutil.copytree(golden / "formats" / "db" / "gray_leveldb", tmp_path / name)
        content = bytearray((path / name).read_bytes())
        content[20:40] = bytes(20)
        (path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            list(open_db(path, "leveldb").records())


@pytest.mark.parametrize("name", ["gray_leveldb", "gray_leveldb_logonly"])
def test_a_leveldb_of_caffe_is_read(tmp_path: Path, golden: Path, name: str) -> None:
    path = shutil.copytree(golden / "formats" / "db" / name, tmp_path / name)
    database = open_db(path, "leveldb")
    other = open_db(golden / "formats" / "db" / "gray_lmdb", "lmdb")
    assert list(database.records()) == list(other.records())
    assert database.count == other.count == 20
    database.close()
    other.close()


def test_reading_an_lmdb_writes_nothing(golden: Path) -> None:
    folder = golden / "formats" / "db" / "gray_lmdb"
    open_db(folder, "lmdb").close()
    assert [entry.name for entry in folder.iterdir()] == ["data.mdb"]


def test_a_missing_library_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_import = builtins.__import__

    def without_plyvel(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "plyvel":
            raise ImportError("No module named 'plyvel'")
        return plain_import(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "caffepy.engine.data.db_leveldb", raising=False)
    monkeypatch.delitem(sys.modules, "plyvel", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_plyvel)
    with pytest.raises(DeviceError, match=r"backend leveldb: .* Run `pip install plyvel`"):
        create_db(tmp_path / "db", "leveldb")
