"""compute_image_mean: the mean image of a database."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum, mean
from caffepy.engine.data.db import create_db
from caffepy.tools.arguments import normalise, option_table
from caffepy.tools.compute_image_mean import command, run

NAMES = ["gray_lmdb", "gray_leveldb", "color_png_lmdb", "mixed_resized_lmdb",
         "mixed_resized_gray_leveldb", "encoded_png_lmdb", "encoded_gray_lmdb"]  # fmt: skip


def logged(text: str) -> list[str]:
    """The messages in Caffe's log, but for what it says about decoding."""
    messages = [line.split("] ", 1)[1] for line in text.splitlines()]
    return [message for message in messages if message != "Decoding Datum"]


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
