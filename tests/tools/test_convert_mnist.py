"""convert_mnist: IDX files into a database."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum
from caffepy.engine.data.db import open_db
from caffepy.tools.convert_mnist import command, run

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 4), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """images and labels, plain, and images.gz."""
    (tmp_path / "images").write_bytes(struct.pack(">4I", 2051, 5, 3, 4) + IMAGES.tobytes())
    (tmp_path / "labels").write_bytes(struct.pack(">2I", 2049, 5) + LABELS.tobytes())
    (tmp_path / "images.gz").write_bytes(gzip.compress((tmp_path / "images").read_bytes()))
    return tmp_path


def convert(folder: Path, images: str = "images", labels: str = "labels", **options: Any) -> int:
    return run(str(folder / images), str(folder / labels), str(folder / "db"), **options)


@pytest.mark.parametrize("images", ["images", "images.gz"])
def test_every_image_becomes_a_record(files: Path, images: str) -> None:
    assert convert(files, images) == 5
    database = open_db(files / "db", "lmdb")
    for index, (key, value) in enumerate(database.records()):
        record = datum.parse(value, "test")
        assert key == b"%08d" % index
        assert record.label == LABELS[index]
        np.testing.assert_array_equal(datum.array(record, "test")[0], IMAGES[index])
        names = [field.name for field, _ in record.ListFields()]
        assert names == ["channels", "height", "width", "data", "label"], "Caffe sets no more"
    assert database.count == 5
    database.close()


def test_a_part_keeps_the_numbers_of_the_images(files: Path) -> None:
    names = [str(files / name) for name in ("images", "labels", "db")]
    options = ["--start", "1", "--count", "3", "--backend", "leveldb"]
    done = CliRunner().invoke(command, [*names, *options], catch_exceptions=False)
    assert done.exit_code == 0
    database = open_db(files / "db", "leveldb")
    assert list(database.keys()) == [b"00000001", b"00000002", b"00000003"]
    database.close()


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        ("labels", "images", {}, r"labels: expected an IDX file of images .* got one with 2049"),
        ("images", "images", {}, r"images: expected an IDX file of labels .* got one with 2051"),
        ("none", "labels", {}, "none: cannot be read"),
        ("images", "empty", {}, "empty: expected an IDX file of labels"),
        ("cut", "labels", {}, r"cut: expected 76 bytes for images of shape \(5, 3, 4\), got 75"),
        ("header", "labels", {}, r"header: expected .* bytes for images .*, got 10"),
        ("cut.gz", "labels", {}, r"cut\.gz: cannot be read"),
        ("images", "four", {}, r"four: expected 5 labels, one for each image .*, got 4"),
        ("images", "labels", {"start": 5}, "expected a part of the 5 images"),
        ("images", "labels", {"start": 2, "count": 4}, "expected a part of the 5 images"),
        ("images", "labels", {"start": -1, "count": 2}, "expected a part of the 5 images"),
        ("images", "labels", {"count": 0}, "expected a part of the 5 images"),
    ],
)
def test_unfit_files_are_named(
    files: Path, images: str, labels: str, options: dict[str, int], message: str
) -> None:
    (files / "empty").touch()
    (files / "cut").write_bytes((files / "images").read_bytes()[:-1])
    (files / "header").write_bytes((files / "images").read_bytes()[:10])
    (files / "cut.gz").write_bytes((files / "images.gz").read_bytes()[:-12])
    (files / "four").write_bytes(struct.pack(">2I", 2049, 4) + bytes(4))
    with pytest.raises(DataError, match=message):
        convert(files, images, labels, **options)
    assert not (files / "db").exists()


def test_the_mnist_files_are_read(shared: Path, tmp_path: Path) -> None:
    names = [
        str(shared / "mnist" / f"t10k-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1")
    ]
    assert run(*names, str(tmp_path / "db"), start=8000) == 2000
    database = open_db(tmp_path / "db", "lmdb")
    assert next(database.keys()) == b"00008000"
    database.close()
