"""parse_log: tables as tools/extra/parse_log.py of Caffe makes them."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from caffepy.engine.core.errors import CaffepyError
from caffepy.tools import cli
from caffepy.tools.log_table import read_log, rows
from caffepy.tools.parse_log import command

LOG = """\
Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg
I1231 23:59:50.000000 17 solver.cpp:60] Solver scaffolding done.
I1231 23:59:58.500000 17 solver.cpp:289] Solving net
I1231 23:59:59.000000 17 solver.cpp:347] Iteration 0, Testing net (#0)
I1231 23:59:59.500000 17 solver.cpp:414]     Test net output #0: accuracy = 0.25
I1231 23:59:59.500000 17 solver.cpp:414]     Test net output #1: loss = 1.4 (* 1 = 1.4 loss)
I0101 00:00:00.500000 17 solver.cpp:239] Iteration 0 (4 iter/s, 0s/2 iters), loss = 1.5
I0101 00:00:00.500000 17 solver.cpp:258]     Train net output #0: loss = 1.6 (* 1 = 1.6 loss)
I0101 00:00:00.500000 17 sgd_solver.cpp:112] Iteration 0, lr = 0.02
I0101 00:00:01.500000 17 solver.cpp:239] Iteration 2 (4 iter/s, 0s/2 iters), loss = nan
I0101 00:00:01.500000 17 solver.cpp:258]     Train net output #0: loss = nan (* 1 = nan loss)
I0101 00:00:01.500000 17 sgd_solver.cpp:112] Iteration 2, lr = 0.01
I0101 00:00:02.500000 17 solver.cpp:347] Iteration 4, Testing net (#0)
I0101 00:00:02.500000 17 solver.cpp:414]     Test net output #0: accuracy = 0.75
I0101 00:00:02.500000 17 solver.cpp:414]     Test net output #1: loss = 1 (* 1 = 1 loss)
I0101 00:00:03.500000 17 solver.cpp:347] Iteration 6, Testing net (#0)
I0101 00:00:03.500000 17 solver.cpp:414]     Test net output #0: accuracy = 0.8
"""
# By the script of tools/extra itself, but for nan, which it passes over.
TRAIN = "NumIters,Seconds,LearningRate,loss\r\n0.0,2.0,0.02,1.6\r\n2.0,3.0,0.02,nan\r\n"
TEST = (
    "NumIters,Seconds,LearningRate,accuracy,loss\r\n"
    "0.0,1.0,0.01,0.25,1.4\r\n4.0,4.0,0.01,0.75,1.0\r\n"
)


def table(path: Path) -> str:
    return path.read_bytes().decode()


@pytest.mark.parametrize("prefix", [r"\1\2", r"\g<1>2025\2"], ids=["glog", "glog with years"])
def test_the_tables_are_those_of_caffes_script(tmp_path: Path, prefix: str) -> None:
    text = re.sub(r"^(I)(1231)", prefix, LOG, flags=re.MULTILINE)
    text = re.sub(r"^(I)(0101)", prefix.replace("2025", "2026"), text, flags=re.MULTILINE)
    (tmp_path / "a.log").write_text(text)
    done = CliRunner().invoke(command, [str(tmp_path / "a.log"), str(tmp_path)])
    assert (done.exit_code, done.output) == (0, "")
    assert table(tmp_path / "a.log.train") == TRAIN
    assert table(tmp_path / "a.log.test") == TEST


def test_columns_may_be_parted_otherwise_and_files_told(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(LOG.replace("Train net", "Trial net"))
    arguments = [str(tmp_path / "a.log"), str(tmp_path), "--verbose", "--delimiter", ";"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.output.splitlines() == [
        f"Not writing {tmp_path / 'a.log.train'}; no lines to write",
        f"Wrote {tmp_path / 'a.log.test'}",
    ]
    assert table(tmp_path / "a.log.test") == TEST.replace(",", ";")


def test_a_log_with_one_row_gives_it() -> None:
    lines = LOG.splitlines()[:8]
    assert [row["loss"] for row in rows(read_log(lines).outputs, "train")] == [1.6]
    assert [row["accuracy"] for row in rows(read_log(lines).outputs, "test")] == [0.25]


def test_lines_without_a_time_have_no_seconds() -> None:
    plain = [line.rpartition("]")[1] + line.rpartition("]")[2] for line in LOG.splitlines()]
    (row, *_) = rows(read_log(plain).outputs, "test")
    assert row["accuracy"] == 0.25
    assert row["Seconds"] != row["Seconds"]


def test_our_log_and_caffes_give_equal_tables(
    golden: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_as_before: None,
) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--solver=solver.prototxt", "--weights=init.caffemodel"]
    assert cli._run(arguments, debug=False) == 0
    Path("ours.log").write_text(capsys.readouterr().err)
    for log in ("ours.log", "00_train.txt"):
        assert cli._run(["parse_log", log, "."], debug=False) == 0
    for phase in ("train", "test"):
        ours, caffes = (
            list(csv.DictReader(table(Path(f"{log}.{phase}")).splitlines()))
            for log in ("ours.log", "00_train.txt")
        )
        assert len(ours) == len(caffes) > 1
        for mine, theirs in zip(ours, caffes, strict=True):
            assert list(mine) == list(theirs)
            assert min(float(row.pop("Seconds")) for row in (mine, theirs)) >= 0
            numbers = pytest.approx([float(number) for number in theirs.values()], rel=2e-4)
            assert [float(number) for number in mine.values()] == numbers


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (b"nothing\n", ".", "expected a training log"),
        (bytes(range(256)) * 9, ".", "expected a training log"),
        (None, ".", "cannot be read: No such file"),
        (LOG.encode(), "none", "cannot be written"),
    ],
)
def test_wrong_files_are_refused(
    tmp_path: Path, content: bytes | None, target: str, message: str
) -> None:
    if content is not None:
        (tmp_path / "a.log").write_bytes(content)
    arguments = [str(tmp_path / "a.log"), str(tmp_path / target)]
    with pytest.raises(CaffepyError, match=message):
        CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_a_delimiter_of_two_characters_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["log", ".", "--delimiter", "::"])
    assert done.exit_code == 2
    assert "expected one character, got '::'" in done.output
