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
from caffepy.tools.convert_mnist import Pairs, command, draw_pairs, run

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


def classes(count: int = 40) -> np.ndarray:
    """Labels of four classes of different sizes, in mixed order, and one class of one image."""
    labels = np.random.default_rng(1).choice(4, count, p=[0.1, 0.2, 0.3, 0.4]).astype(np.uint8)
    labels[count // 2] = 9
    return labels


def test_pairs_are_records_of_two_channels(files: Path) -> None:
    names = [str(files / name) for name in ("images", "labels", "db")]
    options = ["--siamese", "--pairs", "30", "--seed", "4", "--start", "1", "--count", "3"]
    done = CliRunner().invoke(command, [*names, *options], catch_exceptions=False)
    assert done.exit_code == 0
    first, second = draw_pairs(LABELS[1:4], Pairs(30, seed=4))
    assert set(first) == set(second) == {0, 1, 2}
    database = open_db(files / "db", "lmdb")
    for index, (key, value) in enumerate(database.records()):
        record = datum.parse(value, "test")
        assert key == b"%08d" % index
        pair = 1 + first[index], 1 + second[index]
        assert record.label == (LABELS[pair[0]] == LABELS[pair[1]])
        np.testing.assert_array_equal(datum.array(record, "test"), IMAGES[list(pair)])
        names = [field.name for field, _ in record.ListFields()]
        assert names == ["channels", "height", "width", "data", "label"], "Caffe sets no more"
    assert database.count == 30
    database.close()


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_there_are_as_many_pairs_as_images_and_the_seed_chooses_them(
    files: Path, backend: str
) -> None:
    written = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        names = [str(files / part) for part in ("images", "labels", name)]
        assert run(*names, backend=backend, pairs=Pairs(seed=seed)) == 5
        database = open_db(files / name, backend)
        written.append(list(database.records()))
        database.close()
    assert written[0] == written[1] != written[2]


def test_by_chance_both_images_may_be_any() -> None:
    labels = classes()
    first, second = draw_pairs(labels, Pairs(20000))
    for numbers in (first, second):
        counts = np.bincount(numbers, minlength=40)
        assert counts.min() > 350
        assert counts.max() < 650
    expected = (np.bincount(labels) ** 2).sum() / 40**2
    assert abs((labels[first] == labels[second]).mean() - expected) < 0.02
    assert (first == second).any(), "also one image twice, as in Caffe's example"


@pytest.mark.parametrize("alike", [0, 0.25, 0.5, 1])
def test_the_wanted_part_of_the_pairs_is_alike(alike: float) -> None:
    labels = classes()
    first, second = draw_pairs(labels, Pairs(20001, alike))
    same = labels[first] == labels[second]
    assert same.sum() == round(alike * 20001)
    assert not (first == second).any()
    if 0 < alike < 1:
        assert abs(same[:10000].mean() - alike) < 0.02, "mixed"
    if alike:
        assert 9 not in labels[first[same]], "which has one image only"
        assert set(map(tuple, np.stack([first, second], 1)[same])) == {
            (one, other)
            for one in range(40)
            for other in range(40)
            if one != other and labels[one] == labels[other]
        }
    if alike < 1:
        assert set(first[~same]) == set(second[~same]) == set(range(40))


@pytest.mark.parametrize(
    ("labels", "pairs", "message"),
    [
        ([1, 2], Pairs(0), "--pairs: expected at least 1, got 0"),
        ([1, 2], Pairs(4, 1.5), r"--alike: expected a part from 0 to 1, got 1\.5"),
        ([1, 2], Pairs(4, float("nan")), r"--alike: expected a part from 0 to 1, got nan"),
        ([1, 2, 3], Pairs(4, 0.5), r"--alike 0\.5: expected images of several classes, and sev"),
        ([1, 1], Pairs(4, 0.5), r"--alike 0\.5: .* got 2 image\(s\) of 1 class\(es\)"),
    ],
)
def test_pairs_that_do_not_exist_are_refused(labels: list[int], pairs: Pairs, message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_pairs(np.array(labels, np.uint8), pairs)


def test_options_of_pairs_need_siamese(files: Path) -> None:
    names = [str(files / name) for name in ("images", "labels", "db")]
    done = CliRunner().invoke(command, [*names, "--alike", "0.5", "--seed", "0"])
    assert done.exit_code == 2
    assert "--alike, --seed: only pairs have this. Add --siamese." in done.output
    assert not (files / "db").exists()
