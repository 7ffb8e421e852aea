"""Bad files for the converters and bad command lines: refused without anything left over."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.refusals import Run, assert_refused, make_lmdb, record


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("convert_mnist none l new", "none: cannot be read: No such file or directory. Fix"),
        ("convert_mnist l i new", "got one with 2049. Give the images first"),
        ("convert_mnist text l new", "(magic number 2051), got one with 1751477356. Fetch"),
        ("convert_mnist cut.gz l new", "cut.gz: cannot be read: Compressed file ended before"),
        ("convert_mnist short l new", "short: expected 96 bytes for images of shape (5, 4, 4)"),
        ("convert_mnist i l taken", "taken: expected the name of a new database, got one that exi"),
        ("convert_mnist i l no/new", "the folder 'no' does not exist. Make it first"),
        ("convert_mnist i l new --start 9", "--start 9 --count 0: expected a part of the 5 images"),
        ("convert_mnist i l new --backend x", "expected a backend of lmdb, leveldb, got 'x'"),
        ("convert_imageset ./ none new", "none: the list cannot be read: No such file"),
        ("convert_imageset ./ no_label new", "no_label:1: expected a file name, a blank and a"),
        ("convert_imageset ./ big_label new", "label (up to 2147483647), got 'i 99999999999'"),
        ("convert_imageset ./ no_image new", "none of the 1 images could be read, the first bein"),
        ("convert_imageset ./ no_image taken", "taken: expected the name of a new database"),
        ("convert_imageset ./ empty new", "expected lines of a file name and a label, got none"),
        ("compute_image_mean none m", "got nothing there. Fix the path, or make the database"),
        ("compute_image_mean db no/m", "no/m: cannot be written: No such file or directory"),
        ("compute_image_mean db taken", "taken: cannot be written: expected a file, got a folder"),
        ("compute_image_mean db m --backend leveldb", "got one of lmdb. Set `backend: LMDB`"),
        ("plot_log none x.png", "none: cannot be read: No such file or directory"),
        ("plot_log text x.png", "text: expected a training log, got no line"),
    ],
)
def test_converters_refuse_bad_files(tmp_path: Path, run: Run, arguments: str, wanted: str) -> None:
    images = struct.pack(">4I", 2051, 5, 4, 4) + bytes(80)
    contents = {
        "i": images,
        "l": struct.pack(">2I", 2049, 5) + bytes(5),
        "cut.gz": gzip.compress(images)[:-12],
        "short": images[:50],
        "text": b"hello world\n",
        "no_label": b"i\n",
        "big_label": b"i 99999999999\n",
        "no_image": b"i 0\n",
        "empty": b"",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "taken").mkdir()
    make_lmdb(tmp_path / "db", {b"a": record()})
    assert_refused(run, wanted, *arguments.split())


# ---- command lines


@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        ("--version", 0, "caffepy, version"),
        ("-version", 0, "caffepy, version"),
        ("-h", 0, "Commands:"),
        ("-help", 0, "Commands:"),
        ("train -h", 0, "--solver"),
        ("--help time", 0, "--iterations"),
        ("trian", 2, "No such command 'trian'"),
        ("train --solver=", 2, "'--solver': expected a file's name, got ''"),
        ("test --model=n --weights=,", 2, "'--weights': expected a file's name, got ','"),
        ("train --flagfile=none", 2, "--flagfile 'none': cannot be read: No such file"),
        ("train --flagfile=open_quote", 2, "cannot be read: No closing quotation. Give"),
        ("train --flagfile=itself", 2, "Missing option '--solver'"),
        ("-solver gone train -logtostderr=1", 1, "gone: there is no such file"),
        ("train -solver .", 1, ".: expected a prototxt file, got a folder"),
        ("time -model open_quote -iterations 0", 2, "0 is not in the range"),
    ],
)
def test_command_lines(tmp_path: Path, run: Run, arguments: str, status: int, wanted: str) -> None:
    (tmp_path / "open_quote").write_text("--solver='x")
    (tmp_path / "itself").write_text("--flagfile=itself")
    found, message = run(*arguments.split())
    assert found == status, message
    assert wanted in message


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "caffepy", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(root), "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name != "posix", reason="pipes as in POSIX")
def test_a_reader_that_goes_away_causes_no_traceback(tmp_path: Path) -> None:
    process = start(tmp_path, "train", "--help")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(20) in (0, 1)
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_library_that_is_missing_is_named_with_how_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['google'] = None; sys.modules['google.protobuf'] = None\n"
    code += "from caffepy.tools.cli import main; main(['train', '--solver', 's.prototxt'])"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "caffepy: expected all that caffepy needs to be installed, got no module 'goo" in (
        ended.stderr
    )
    assert "Traceback" not in ended.stderr
