"""HDF5 files that are not what their header says, and pieces that take more memory than is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffepy.engine import hdf5_file, weights_file
from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.data import images
from caffepy.engine.data.hdf5 import read_rows
from caffepy.engine.snapshot import read_learned_net, read_snapshot
from caffepy.tools.file_content import read_file

VERSIONS = ["earliest", "v108", "v110", "latest"]  # of the library: other headers


def rows(path: Path) -> object:
    return read_rows(path, ["data"], np.dtype("f4"))


def inspected(path: Path) -> object:
    return read_file(path, lambda: None)


READERS = [rows, weights_file.read_layers, read_snapshot, read_learned_net, inspected]


def write(path: Path, version: str = "earliest", **options: object) -> Path:
    with h5py.File(path, "w", libver=version) as file:
        file.create_dataset("data", data=np.ones((30, 40), np.float32), **options)
    return path


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_is_cut_off_says_how_long_it_was(
    tmp_path: Path, version: str, read: Callable[[Path], object]
) -> None:
    path = write(tmp_path / "file", version)
    length = path.stat().st_size
    with open(path, "rb+") as file:
        file.truncate(length - 5)
    wanted = rf"file: expected an HDF5 file of {length} bytes.* got {length - 5} bytes: it is cut"
    with pytest.raises(CaffepyError, match=wanted):
        read(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_is_longer_than_it_says_is_read(tmp_path: Path, version: str) -> None:
    path = write(tmp_path / "file", version)
    with open(path, "ab") as file:
        file.write(b"more")
    assert len(read_rows(path, ["data"], np.dtype("f4"))[0]) == 30


def test_a_header_that_says_there_is_nothing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "file")
    with open(path, "rb+") as file:
        file.seek(40)
        file.write(bytes(8))
    with pytest.raises(CaffepyError, match="expected an HDF5 file of 0 bytes, as its header says"):
        rows(path)


@pytest.mark.parametrize("read", [rows, inspected])
def test_pieces_that_are_much_bigger_than_their_dataset_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    path = write(tmp_path / "file", maxshape=(None, None), chunks=(1000, 1000), compression="gzip")
    assert path.stat().st_size < 30_000
    read(path)
    monkeypatch.setattr(hdf5_file, "MOST_PIECE", 1 << 20)
    with pytest.raises(
        CaffepyError, match=r"dataset '/?data': expected pieces \(chunks\) no bigger than its 4\."
    ):
        read(path)


def test_a_row_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_BYTES", 100)
    with pytest.raises(CaffepyError, match=r"dataset 'data': a row: expected at most 100 bytes"):
        rows(write(tmp_path / "file"))
