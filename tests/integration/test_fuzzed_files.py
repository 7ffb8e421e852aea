"""Files damaged at random: read, or refused as files are, by each reader of ours."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine import weights_file
from caffepy.engine.core.errors import CaffepyError, DataError
from caffepy.engine.data import datum, idx, images, raw_records
from caffepy.engine.data.db import open_db
from caffepy.engine.data.hdf5 import read_rows
from caffepy.engine.data.image_list import ImageList
from caffepy.engine.data.mean_file import load_mean
from caffepy.engine.data.window_list import WindowList
from caffepy.engine.snapshot import read_snapshot
from caffepy.tools import convert_cifar
from caffepy.tools.file_content import read_file
from caffepy.tools.log_table import open_log

JUNK = (
    b"\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80" * 11, b"9" * 5000, b"\n", b"\t", b"\r\n",
    b"\xe9", b" ", b"-1", b"nan", b"1e999", b"4294967296",
)  # fmt: skip
Read = Callable[[Path], object]


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The bytes with one to four kinds of damage."""
    spoilt = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        if not spoilt:
            break
        place = draw.choice((draw.randrange(len(spoilt)), draw.randrange(min(len(spoilt), 256))))
        kind = draw.randrange(6)
        if kind < 2:
            spoilt[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del spoilt[place:]
        elif kind == 3:
            del spoilt[place : place + draw.randrange(1, 20)]
        elif kind == 4:
            spoilt[place:place] = draw.choice(JUNK)
        else:
            spoilt[place : place + 4] = draw.choice(JUNK)
    return bytes(spoilt)


def image(path: Path) -> None:
    images.decode(path.read_bytes(), "image")


def record(path: Path) -> None:
    datum.array(datum.parse(path.read_bytes(), "record"), "record")


def npy() -> bytes:
    with io.BytesIO() as file:
        np.save(file, np.ones((3, 4, 5), np.float32))
        return file.getvalue()


def idx_images(zipped: bool) -> bytes:
    data = b"".join(number.to_bytes(4, "big") for number in (idx.IMAGE_MAGIC, 3, 4, 5)) + bytes(60)
    return gzip.compress(data) if zipped else data


def cifar(path: Path) -> object:
    train = convert_cifar._SETS["10"]
    convert_cifar._check(path, train)
    return list(convert_cifar._records(path, train))


PIXELS = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
READERS: dict[str, tuple[str | bytes, Read, int]] = {  # file of formats/ or its bytes, inputs
    "caffemodel": ("models/net.caffemodel", weights_file.read_layers, 400),
    "old caffemodel": ("models/v1.caffemodel", weights_file.read_layers, 400),
    "HDF5 caffemodel": ("models/net.caffemodel.h5", weights_file.read_layers, 80),
    "solverstate": ("cli/snap_iter_3.solverstate", read_snapshot, 400),
    "binaryproto": ("mean_gray_lmdb.binaryproto", load_mean, 400),
    "mean.npy": (npy(), load_mean, 200),
    "HDF5": ("cli/train.h5", lambda path: read_rows(path, ["data"], np.dtype("f4")), 160),
    "list": ("list_mixed.txt", ImageList, 400),
    "window file": ("windows.txt", lambda path: WindowList(path, 0.5, 0.4), 400),
    "IDX": (idx_images(False), lambda path: idx.read(path, idx.IMAGE_MAGIC), 400),
    "zipped IDX": (idx_images(True), lambda path: idx.read(path, idx.IMAGE_MAGIC), 200),
    "CIFAR": (bytes(2 * 3073), cifar, 200),
    "JPEG": ("images/crop_12.jpg", image, 200),
    "PNG": ("images/crop_00.png", image, 200),
    "Datum": (datum.raw(PIXELS, 300).SerializeToString(), record, 400),
    "log": ("cli/00_train.txt", lambda path: open_log(str(path)), 100),
    "inspect, weights": ("models/net.caffemodel", lambda path: read_file(path, tell), 80),
    "inspect, HDF5": ("models/net.caffemodel.h5", lambda path: read_file(path, tell), 100),
}


def tell() -> None:
    """Shows no progress."""


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused(golden: Path, tmp_path: Path, reader: str) -> None:
    source, read, count = READERS[reader]
    good = source if isinstance(source, bytes) else (golden / "formats" / source).read_bytes()
    path = tmp_path / ("mean.npy" if reader == "mean.npy" else "file")
    draw, refused = random.Random(8), 0
    for _ in range(count):
        path.write_bytes(damaged(good, draw))
        try:
            read(path)
        except CaffepyError:
            refused += 1
    assert refused > count // 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="inputs are read in processes that are forked")
def test_damaged_databases_are_read_or_refused() -> None:
    readers = "lmdb", "leveldb", "leveldb of Caffe", "packed HDF5", "HDF5 solverstate"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--inputs", "150", "--readers", *readers],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(", 0 hangs, 0 tracebacks") == len(readers)


def raw_values() -> Iterator[bytes]:
    for label in (0, 5, 127, 128, 300, 20000, -1):
        yield datum.raw(PIXELS, label).SerializeToString()


def test_records_read_together_are_those_read_one_by_one() -> None:
    draw, together = random.Random(8), 0
    values = list(raw_values())
    for _ in range(1000):
        group = [draw.choice(values), damaged(draw.choice(values), draw), draw.choice(values)]
        raw = raw_records.read(group)
        if raw is None:
            continue
        together += 1
        for value, label, pixels in zip(group, raw.labels, raw.images, strict=True):
            message = datum.parse(value, "record")
            assert message.label == label
            np.testing.assert_array_equal(datum.array(message, "record"), pixels)
    assert together > 50


def test_no_flip_in_a_leveldb_loses_records(golden: Path, tmp_path: Path) -> None:
    source = golden / "formats" / "db" / "gray_leveldb_logonly"
    good = (source / "000003.log").read_bytes()
    for place in range(0, len(good), len(good) // 40):
        path = tmp_path / str(place)
        shutil.copytree(source, path)
        spoilt = bytearray(good)
        spoilt[place] ^= 4
        (path / "000003.log").write_bytes(spoilt)
        with pytest.raises(DataError):
            open_db(path, "leveldb")


def test_a_record_is_capped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    value = datum.raw(PIXELS, 1).SerializeToString()
    monkeypatch.setattr(images, "MOST_BYTES", 50)
    monkeypatch.setattr(raw_records, "MOST_BYTES", 50)
    assert raw_records.read([value]) is None
    with pytest.raises(DataError, match=r"^record: expected at most 50 bytes, got 7\d bytes\."):
        datum.parse(value, "record")
    path = tmp_path / "image.png"
    path.write_bytes(value)
    with pytest.raises(DataError, match=r"^image: expected at most 50 bytes, got 7\d bytes\."):
        images.read(path, "image")


@pytest.mark.parametrize(("place", "spoilt"), [(8, b"\x40"), (17, b"\x70"), (33, b"\x40")])
def test_a_png_that_says_it_is_huge_takes_no_memory(
    golden: Path, place: int, spoilt: bytes
) -> None:
    data = bytearray((golden / "formats" / "images" / "crop_00.png").read_bytes())
    data[place : place + 1] = spoilt
    with pytest.raises(DataError, match="the PNG file is cut off or damaged"):
        images.decode(bytes(data), "image")


def test_zeros_that_are_zipped_are_read_as_far_as_their_header_says(tmp_path: Path) -> None:
    path = tmp_path / "labels.gz"
    head = idx.LABEL_MAGIC.to_bytes(4, "big") + (9).to_bytes(4, "big")
    path.write_bytes(gzip.compress(head + bytes(1 << 24)))
    with pytest.raises(DataError, match=r"expected 17 bytes for labels of shape .9,., got more"):
        idx.read(path, idx.LABEL_MAGIC)
