"""train, test and time as commands, against what Caffe's printed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PREFIX = re.compile(r"^[IWEF]\S* \S+ +\d+ \S+:\d+\] ", re.MULTILINE)
SPEED = re.compile(r"\(\S+ iter/s, \S+s/\d+ iters\)")
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


def caffepy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a folder, from this checkout."""
    return subprocess.run(
        [sys.executable, "-m", "caffepy", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def messages(log: str, first: str) -> list[str]:
    """The log's messages from the one that starts with `first` on, without prefixes and speeds."""
    lines = [PREFIX.sub("", line) for line in log.splitlines() if PREFIX.match(line)]
    start = next(index for index, line in enumerate(lines) if line.startswith(first))
    return [SPEED.sub("(speed)", line) for line in lines[start:]]


def assert_same_messages(found: list[str], wanted: list[str]) -> None:
    """Equal words, and numbers equal but for the last digits printed."""
    assert [NUMBER.sub("#", line) for line in found] == [NUMBER.sub("#", line) for line in wanted]
    for mine, theirs in zip(found, wanted, strict=True):
        numbers = [float(number) for number in NUMBER.findall(theirs)]
        assert [float(number) for number in NUMBER.findall(mine)] == pytest.approx(
            numbers, rel=2e-4, abs=1e-6
        )


@pytest.fixture
def case(golden: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(golden / "formats" / "cli", tmp_path / "cli"))


def test_train_prints_what_caffe_prints(case: Path) -> None:
    run = caffepy(case, "train", "--solver=solver.prototxt", "--weights=init.caffemodel")
    assert run.returncode == 0, run.stderr
    recorded = (case / "00_train.txt").read_text()
    assert_same_messages(messages(run.stderr, "Starting Opt"), messages(recorded, "Starting Opt"))
    assert (case / "snap_iter_6.caffemodel").is_file()
    assert (case / "snap_iter_6.solverstate").is_file()


def test_train_resumes_caffes_snapshot(case: Path) -> None:
    run = caffepy(
        case, "train", "-solver", "solver.prototxt", "-snapshot", "snap_iter_3.solverstate"
    )
    assert run.returncode == 0, run.stderr
    recorded = (case / "01_train.txt").read_text()
    assert_same_messages(messages(run.stderr, "Solving"), messages(recorded, "Solving"))


def test_test_prints_what_caffe_prints(case: Path) -> None:
    caffepy(case, "train", "-solver=solver.prototxt", "-snapshot=snap_iter_3.solverstate")
    weights = "snap_iter_6.caffemodel"
    run = caffepy(case, "test", "-model", "net.prototxt", "-weights", weights, "-iterations", "3")
    assert run.returncode == 0, run.stderr
    recorded = (case / "02_test.txt").read_text()
    assert_same_messages(messages(run.stderr, "Running"), messages(recorded, "Running"))


def test_time_lists_every_layer(case: Path) -> None:
    run = caffepy(case, "time", "-model=net.prototxt", "-iterations=2")
    assert run.returncode == 0, run.stderr
    found = [line.split(":")[0] for line in messages(run.stderr, "*** Benchmark begins")]
    recorded = messages((case / "04_time.txt").read_text(), "*** Benchmark begins")
    assert found == [line.split(":")[0] for line in recorded]


def test_time_fused_lists_groups_and_whole_steps(case: Path) -> None:
    run = caffepy(case, "time", "-model=net.prototxt", "-iterations=2", "-fused")
    assert run.returncode == 0, run.stderr
    found = messages(run.stderr, "pass ")
    assert found[1].startswith("forward   data")
    assert [line[10:26] for line in found[-5:-1]] == [
        "sum of the group", "between them    ", "whole step, watc", "whole step, not ",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        ([], 0, "Commands:"),
        (["--help"], 0, "Commands:"),
        (["train", "--help"], 0, "--snapshot"),
        (["fly"], 2, "No such command 'fly'"),
        (["train"], 2, "--solver"),
        (["train", "-solver", "nope.prototxt"], 1, "nope.prototxt: there is no such file"),
        (["train", "-solver", "solver.prototxt", "-snapshot=a", "-weights=b"], 2, "got both"),
        (["train", "-solver", "solver.prototxt", "-on-mismatch=skip"], 2, "expected --weights"),
        (["train", "-frobnicate", "3"], 2, "frobnicate"),
        (["test", "-model", "net.prototxt"], 2, "--weights"),
        (["test", "-model", "net.prototxt", "-weights", "none.caffemodel"], 1, "none.caffemodel"),
        (["time", "-model", "net.prototxt", "-phase", "VALIDATE"], 2, "VALIDATE"),
        (["train", "-solver=solver.prototxt", "-gpu", "0"], 1, "expected a GPU that can be used"),
    ],
)
def test_a_wrong_command_line_is_explained(
    case: Path, arguments: list[str], status: int, wanted: str
) -> None:
    before = sorted(case.iterdir())
    run = caffepy(case, *arguments)
    assert run.returncode == status, run.stderr
    assert wanted in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert sorted(case.iterdir()) == before
