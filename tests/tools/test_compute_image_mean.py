"""compute_image_mean: the mean image of a database."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum, images, mean
from caffepy.engine.data.db import create_db
from caffepy.tools.arguments import normalise, option_table
from caffepy.tools.compute_image_mean import command, run

NAMES = ["gray_lmdb", "gray_leveldb", "color_png_lmdb", "mixed_resized_lmdb",
         "mixed_resized_gray_leveldb", "encoded_png_lmdb", "encoded_gray_lmdb"]  # fmt: skip


def logged(text: str) -> list[str]:
    """The messages in Caffe's log."""
    return [line.split("] ", 1)[1] for line in text.splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_equals_caffe_to_the_byte_and_in_the_log(
    golden: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(golden / "formats" / "db" / name, tmp_path / "db" / name)
    monkeypatch.chdir(tmp_path)
    file = f"mean_{name}.binaryproto"
    listed = json.loads((golden / "formats" / "databases.json").read_text())["means"][file]
    arguments = normalise(listed["command"][1:], option_table(command))
    caplog.set_level("INFO", logger="caffepy")
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    assert Path(file).read_bytes() == (golden / "formats" / file).read_bytes()
    assert caplog.messages == logged(listed["stderr"])


def test_jpeg_is_decoded_within_a_grey_level(golden: Path, tmp_path: Path) -> None:
    name = "encoded_auto_lmdb"
    run(str(golden / "formats" / "db" / name), str(tmp_path / "mean"))
    with np.load(golden / "formats" / "means.npz") as means:
        expected = means[f"mean_{name}.binaryproto"]
    found = mean.BlobProto.FromString((tmp_path / "mean").read_bytes()).data
    np.testing.assert_allclose(found, expected.reshape(-1), atol=1)


def test_floats_are_averaged_and_no_file_needs_to_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mean, "LOG_EVERY", 2)
    monkeypatch.setattr(mean, "TOGETHER", 1)
    with create_db(tmp_path / "db", "lmdb") as writer:
        for index in range(3):
            pixels = np.array([[[index + 0.5]], [[-index]]])
            writer.put(b"%d" % index, datum.raw(pixels, 0).SerializeToString())
    caplog.set_level("INFO", logger="caffepy")
    run(str(tmp_path / "db"))
    assert caplog.messages[-5:] == [
        "Processed 2 files.",
        "Processed 3 files.",
        "Number of channels: 2",
        "mean_value channel [0]: 1.5",
        "mean_value channel [1]: -1",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["db"]


def test_images_of_several_sizes_are_refused_with_the_key(tmp_path: Path) -> None:
    with create_db(tmp_path / "db", "lmdb") as writer:
        for key, width in ((b"first", 2), (b"second", 3)):
            pixels = np.ones((1, 2, width), np.uint8)
            writer.put(key, datum.raw(pixels, 0).SerializeToString())
    with pytest.raises(DataError, match=r"record 'second' of .*expected shape \(1, 2, 2\)"):
        run(str(tmp_path / "db"))


def test_a_place_that_cannot_be_written_is_named(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none/mean: cannot be written"):
        run(str(golden / "formats" / "db" / "gray_lmdb"), str(tmp_path / "none" / "mean"))


@pytest.mark.parametrize("floats", [False, True])
def test_the_mean_is_the_same_bits_whatever_the_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floats: bool
) -> None:
    monkeypatch.setattr(mean, "EXACT", 70)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (1000, 3, 5, 7), np.uint8)
    if floats:
        values = rng.standard_normal(values.shape).astype(np.float32)
    with create_db(tmp_path / "db", "lmdb") as writer:
        for index, value in enumerate(values):
            writer.put(b"%05d" % index, datum.raw(value, 0).SerializeToString())
    for threads in (1, 2, 7):
        run(str(tmp_path / "db"), str(tmp_path / f"mean{threads}"), threads=threads)
    found = {(tmp_path / f"mean{threads}").read_bytes() for threads in (1, 2, 7)}
    assert len(found) == 1
    exact = mean.BlobProto.FromString(found.pop()).data
    wanted = values.mean(axis=0, dtype=float).astype(np.float32).reshape(-1)
    np.testing.assert_allclose(exact, wanted, rtol=0, atol=1e-6 if floats else 0)


def test_bytes_and_floats_may_stand_in_one_database(tmp_path: Path) -> None:
    with create_db(tmp_path / "db", "lmdb") as writer:
        for key, values in ((b"a", np.full((1, 1, 2), 200, np.uint8)), (b"b", np.ones((1, 1, 2)))):
            writer.put(key, datum.raw(values, 0).SerializeToString())
    run(str(tmp_path / "db"), str(tmp_path / "mean"))
    assert list(mean.BlobProto.FromString((tmp_path / "mean").read_bytes()).data) == [100.5, 100.5]


@pytest.mark.parametrize(("channels", "shape"), [(1, (4, 6)), (2, (4, 12)), (3, (4, 6, 3))])
def test_the_mean_as_a_picture(tmp_path: Path, channels: int, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (channels, 4, 6), np.uint8)
    with create_db(tmp_path / "db", "lmdb") as writer:
        writer.put(b"0", datum.raw(values, 0).SerializeToString())
    run(str(tmp_path / "db"), png=str(tmp_path / "mean.png"))
    picture = images.decode((tmp_path / "mean.png").read_bytes(), "test")
    assert picture.shape == shape
    planes = {
        1: lambda: picture[None],
        2: lambda: np.stack(np.split(picture, 2, axis=1)),
        3: lambda: picture.transpose(2, 0, 1),
    }[channels]()
    np.testing.assert_array_equal(planes, values)


@pytest.mark.parametrize("name", ["mean", "mean.xyz"])
def test_a_picture_of_no_type_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"--png.*Call it mean\.png"):
        run(str(tmp_path / "none"), png=str(tmp_path / name))
