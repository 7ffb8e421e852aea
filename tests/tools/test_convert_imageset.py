"""convert_imageset: images and labels into a database."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum, images
from caffepy.engine.data.db import open_db
from caffepy.tools import convert_imageset
from caffepy.tools.arguments import normalise, option_table
from caffepy.tools.convert_imageset import ImageOptions, command, run
from caffepy.tools.stored_image import stored_image

RESIZED = {"mixed_resized_lmdb", "mixed_resized_gray_leveldb"}


def records(path: Path, backend: str = "lmdb") -> dict[str, Any]:
    database = open_db(path, backend)
    found = {key.decode(): datum.parse(value, "test") for key, value in database.records()}
    database.close()
    return found


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """a.png color 4 x 6, b.png gray 3 x 5, c.jpg color 4 x 6, list.txt with labels 1, 2, 3."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(images.encode(pixels, "png"))
    (tmp_path / "b.png").write_bytes(images.encode(pixels[:3, :5, 0].copy(), "png"))
    (tmp_path / "c.jpg").write_bytes(images.encode(pixels, "jpg"))
    (tmp_path / "list.txt").write_text("a.png 1\nb.png 2\nc.jpg 3\n")
    return tmp_path


def convert(folder: Path, options: ImageOptions | None = None, **more: Any) -> dict[str, Any]:
    run(f"{folder}/", str(folder / "list.txt"), str(folder / "db"), options, **more)
    return records(folder / "db")


@pytest.mark.parametrize(
    "name",
    ["gray_lmdb", "gray_leveldb", "color_png_lmdb", "mixed_resized_lmdb",
     "mixed_resized_gray_leveldb", "encoded_png_lmdb", "encoded_auto_lmdb", "encoded_gray_lmdb"],
)  # fmt: skip
def test_writes_what_caffe_writes(
    golden: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(golden / "formats")
    listed = json.loads(Path("databases.json").read_text())["databases"][name]
    arguments = normalise(listed["command"][1:-1], option_table(command))
    done = CliRunner().invoke(command, [*arguments, str(tmp_path / name)], catch_exceptions=False)
    assert done.exit_code == 0
    found = records(tmp_path / name, listed["backend"])
    theirs = records(shutil.copytree(Path("db", name), tmp_path / "theirs"), listed["backend"])
    assert list(found) == [record["key"] for record in listed["records"]]
    for record, expected in zip(found.values(), listed["records"], strict=True):
        assert [field.name for field, _ in record.ListFields()] == expected["has_fields"]
        shape = record.channels, record.height, record.width
        assert shape == tuple(expected[part] for part in ("channels", "height", "width"))
        assert record.label == expected["label"]
        if name in RESIZED:  # versions of OpenCV may differ by a grey level
            same = datum.array(theirs[expected["key"]], "test")
            np.testing.assert_allclose(datum.array(record, "test"), same, rtol=0, atol=1)
        else:
            value = record.SerializeToString()
            assert hashlib.sha1(value).hexdigest() == expected["value_sha1"], expected["key"]


def test_unreadable_images_are_listed_and_left_out(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (pictures / "broken.png").write_bytes(b"no image")
    (pictures / "list.txt").write_text("none.png 0\na.png 1\nbroken.png 2\nc.jpg 3\n")
    assert list(convert(pictures)) == ["00000001_a.png", "00000003_c.jpg"]
    assert "2 of 4 images could not be read" in caplog.text
    assert f"{pictures}/none.png (line 1), {pictures}/broken.png (line 3)" in caplog.text


def test_nothing_readable_is_an_error_and_leaves_no_database(pictures: Path) -> None:
    (pictures / "list.txt").write_text("none.png 0\n")
    with pytest.raises(DataError, match=r"none of the 1 images could be read.*none\.png"):
        convert(pictures)
    assert not (pictures / "db").exists()


def test_shuffling_is_always_the_same(pictures: Path) -> None:
    (pictures / "list.txt").write_text("".join(f"a.png {label}\n" for label in range(10)))
    found = [record.label for record in convert(pictures, shuffle=True).values()]
    assert sorted(found) == list(range(10)) != found
    run(str(pictures), str(pictures / "list.txt"), str(pictures / "again"), shuffle=True)
    assert [record.label for record in records(pictures / "again").values()] == found


def test_sizes_are_checked_when_asked_for(pictures: Path) -> None:
    with pytest.raises(DataError, match=r"b\.png: expected \(4, 6, 3\).*got \(3, 5, 3\)"):
        convert(pictures, check_size=True)
    assert not (pictures / "db").exists()
    assert len(convert(pictures, ImageOptions(width=7, height=8), check_size=True)) == 3


@pytest.mark.parametrize("gray", [False, True])
def test_files_are_stored_as_they_are_where_type_and_channels_fit(
    pictures: Path, gray: bool
) -> None:
    found = list(convert(pictures, ImageOptions(gray=gray, encode_type="png")).values())
    files = [(pictures / name).read_bytes() for name in ("a.png", "b.png", "c.jpg")]
    same = [record.data == file for record, file in zip(found, files, strict=True)]
    assert same == [not gray, gray, False]
    channels = {datum.array(record, "test").shape[0] for record in found}
    assert channels == {1 if gray else 3}


def test_a_file_without_an_extension_needs_encode_type(pictures: Path) -> None:
    """Unless it is stored as it is: b is gray and would have to be encoded anew."""
    for name in "ab":
        (pictures / f"{name}.png").rename(pictures / name)
    (pictures / "list.txt").write_text("a 0\nb 1\n")
    assert list(convert(pictures, ImageOptions(encoded=True))) == ["00000000_a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{0} {0}/none.txt {0}/db", "none.txt: the list cannot be read"),
        ("{0} {0}/empty.txt {0}/db", "expected lines of a file name and a label, got none"),
        ("{0} {0}/float.txt {0}/db", "float.txt:1: expected a file name"),
        ("{0} {0}/list.txt {0}", "got one that exists"),
        ("{0} {0}/list.txt {0}/db --resize_width 3", "expected two sizes or neither"),
        ("{0} {0}/list.txt {0}/db --encode_type xyz", "OpenCV cannot write such files"),
        ("{0} {0}/list.txt {0}/db --backend hdf5", "expected a backend of lmdb, leveldb"),
    ],
)
def test_wrong_arguments_are_named(pictures: Path, arguments: str, message: str) -> None:
    (pictures / "empty.txt").touch()
    (pictures / "float.txt").write_text("a.png 1.5")
    with pytest.raises(DataError, match=message):
        CliRunner().invoke(command, shlex.split(arguments.format(pictures)), catch_exceptions=False)


def test_progress_is_logged_as_by_caffe(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="caffepy")
    convert(pictures)
    assert caplog.messages == [
        "A total of 3 images.",
        f"Opened lmdb {pictures / 'db'}",
        "Processed 3 files.",
        f"Opened lmdb {pictures / 'db'}",
    ]


@pytest.fixture
def many(pictures: Path) -> Path:
    """60 lines, of which those of numbers 7, 17, ... name no image."""
    names = ["none.png" if index % 10 == 7 else "a.png" for index in range(60)]
    lines = (f"{name} {index}\n" for index, name in enumerate(names))
    (pictures / "list.txt").write_text("".join(lines))
    return pictures


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_the_database_is_the_same_whatever_the_number_of_threads(many: Path, backend: str) -> None:
    found = []
    for threads in (1, 2, 5):
        name = str(many / f"db{threads}")
        run(str(many), str(many / "list.txt"), name, backend=backend, threads=threads)
        database = open_db(name, backend)
        found.append(list(database.records()))
        database.close()
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 54


def interrupt(folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """A conversion that is interrupted at image 40, where 30 are committed."""
    with monkeypatch.context() as patch:
        patch.setattr("caffepy.engine.data.db.COMMIT_RECORDS", 10)
        wrapped, seen = convert_imageset.read_image, []

        def read(*args: Any) -> Any:
            seen.append(args)
            if len(seen) == 40:
                raise KeyboardInterrupt
            return wrapped(*args)

        patch.setattr(convert_imageset, "read_image", read)
        with pytest.raises(KeyboardInterrupt):
            run(str(folder), str(folder / "list.txt"), str(folder / "db"), **more)


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_an_interrupted_conversion_goes_on(
    many: Path, backend: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="caffepy")
    interrupt(many, monkeypatch, backend=backend)
    assert not (many / "db").exists()
    assert "The same command goes on there." in caplog.messages[-1]
    caplog.clear()
    run(str(many), str(many / "list.txt"), str(many / "db"), backend=backend)
    assert "Going on after 39 images, which an interrupted run has read." in caplog.messages
    assert "6 of 60 images could not be read" in caplog.text
    run(str(many), str(many / "list.txt"), str(many / "whole"), backend=backend)
    assert records(many / "db", backend) == records(many / "whole", backend)
    assert not list(many.glob(".db*"))
    assert not list(many.glob("*/writer"))


def test_what_an_interrupted_conversion_of_another_kind_left_is_removed(
    many: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="caffepy")
    for options in (ImageOptions(gray=True), ImageOptions()):
        interrupt(many, monkeypatch, options=options)
        assert len(list(many.glob(".db.*.unfinished"))) == 1
    (many / "list.txt").write_text("a.png 1\n")
    convert(many)
    assert "Going on" not in caplog.text
    assert not list(many.glob(".db*"))


def test_without_resume_an_interrupted_conversion_leaves_nothing(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(many, monkeypatch, resume=False)
    assert not list(many.glob(".db*"))


def test_a_conversion_that_is_running_is_not_joined(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(many, monkeypatch)
    (unfinished,) = many.glob(".db.*.unfinished")
    (unfinished / "writer").write_text(str(os.getppid()))
    with pytest.raises(DataError, match=f"got one that process {os.getppid()} is writing"):
        convert(many)
    assert unfinished.is_dir()


def test_a_conversion_that_was_killed_goes_on(many: Path) -> None:
    """The kill comes where the writer has a committed part."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    killed = (
        "import os, signal, caffepy.engine.data.db as db, caffepy.tools.convert_imageset as tool\n"
        "wrapped = tool.read_image\n"
        "def read(path, label, options):\n"
        "    if label == 40: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return wrapped(path, label, options)\n"
        "tool.read_image, db.COMMIT_RECORDS = read, 10\n"
        "tool.run('.', 'list.txt', 'db')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", killed],
        cwd=many,
        env=environment,
        check=False,
    )
    assert ended.returncode == -9
    command = [sys.executable, "-m", "caffepy", "convert_imageset", ".", "list.txt", "db"]
    again = subprocess.run(
        command,
        cwd=many,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Going on after 33 images" in again.stderr
    assert len(records(many / "db")) == 54


def test_an_image_that_would_be_too_large_for_a_record_is_not_made(pictures: Path) -> None:
    for options in (ImageOptions(width=60_000, height=50_000), ImageOptions(min_dim=20_000)):
        with pytest.raises(DataError, match=r"a\.png: resizing to .* at most 512.* smaller size"):
            stored_image(pictures / "a.png", options)
