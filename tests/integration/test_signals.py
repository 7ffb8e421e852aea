"""Signals to real trainings: stop, snapshot, none, twice, and before training has begun."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from caffepy.tools.signal_effects import Signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

ROOT = Path(__file__).resolve().parents[2]
# Trains without end on golden/formats/cli.
ENDLESS = """net: "net.prototxt" base_lr: 0.0001 lr_policy: "fixed" max_iter: 100000000
display: 100 snapshot_prefix: "s"
"""


@pytest.fixture(autouse=True)
def case(golden: Path, tmp_path: Path) -> Path:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    for old in tmp_path.glob("snap_*"):
        old.unlink()
    (tmp_path / "s.prototxt").write_text(ENDLESS)
    return tmp_path


class Training:
    """A training as a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "caffepy", "train", "-solver=s.prototxt", "-engine=numpy",
             *options],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def wait_for(self, text: str) -> None:
        """Reads the log up to a line that has `text`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line:
                return
        raise AssertionError(f"the training ended without '{text}'")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Status, and the rest of what it printed."""
        _, rest = self.process.communicate(timeout=30)
        assert "Traceback" not in rest
        return self.process.returncode, rest


@pytest.fixture
def started(case: Path) -> Iterator[list[Training]]:
    """Trainings that end with the test."""
    trainings: list[Training] = []
    yield trainings
    for training in trainings:
        if training.process.poll() is None:
            training.process.kill()
        training.process.communicate()


def train(case: Path, started: list[Training], *options: str) -> Training:
    """A training that has begun."""
    started.append(Training(case, *options))
    started[-1].wait_for("Iteration 100,")
    return started[-1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_stop_ends_with_a_snapshot_that_can_be_resumed(
    case: Path, started: list[Training], number: int, status: int
) -> None:
    training = train(case, started)
    training.send(number)
    found, rest = training.end()
    assert found == status
    assert f"caffepy: {signal.Signals(number).name}: stopping after this iteration." in rest
    assert "Optimization stopped early." in rest
    assert len(list(case.glob("s_iter_*.solverstate"))) == 1
    assert not list(case.glob("*.part"))
    resumed = Training(case, "-snapshot=auto", "-iterations=1")
    assert resumed.end()[0] == 0
    assert len(list(case.glob("s_iter_*.solverstate"))) == 2


def test_stop_takes_no_snapshot_where_the_solver_wants_none(
    case: Path, started: list[Training]
) -> None:
    (case / "s.prototxt").write_text(ENDLESS + "snapshot_after_train: false")
    training = train(case, started, "-sighup_effect=stop")
    training.send(signal.SIGHUP)
    assert training.end()[0] == 0
    assert not list(case.glob("s_iter_*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_snapshot_goes_on_training(case: Path, started: list[Training], number: int) -> None:
    training = train(case, started, "-sigint_effect=snapshot")  # that is SIGHUP's default
    training.send(number)
    training.wait_for("Snapshotting solver state")
    training.wait_for("lr =")
    training.send(signal.SIGTERM)
    assert training.end()[0] == 143
    assert len(list(case.glob("s_iter_*.solverstate"))) == 2


def test_none_does_nothing(case: Path, started: list[Training]) -> None:
    training = train(case, started, "-sigint_effect=none", "-sighup_effect=none")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGINT):
        training.send(number)
        training.wait_for("lr =")
    assert not list(case.glob("s_iter_*"))
    training.send(signal.SIGTERM)
    assert training.end()[0] == 143


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(
    case: Path, started: list[Training], number: int, status: int
) -> None:
    # so many test batches that the first signal's stop has no end of an iteration in sight
    (case / "s.prototxt").write_text(ENDLESS + "iter_size: 10000000")
    started.append(Training(case))
    started[0].wait_for("Learning Rate Policy")
    started[0].send(number)
    started[0].wait_for("Send it again to end at once.")
    started[0].send(number)
    found, rest = started[0].end()
    assert found == status
    assert "Optimization stopped early" not in rest
    assert not list(case.glob("s_iter_*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_before_training_a_signal_ends_at_once(
    case: Path, started: list[Training], number: int
) -> None:
    os.mkfifo(case / "list.fifo")  # reading the list waits until somebody writes it
    net = (case / "net.prototxt").read_text().replace("train.txt", "list.fifo")
    (case / "net.prototxt").write_text(net)
    started.append(Training(case))
    training = started[0]
    training.wait_for("Loading list of HDF5 filenames from")
    training.send(number)
    status, _ = training.end()
    assert status == (130 if number == signal.SIGINT else -number)


class Recorder:
    """Stands for a solver."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def request_stop(self) -> None:
        self.asked.append("stop")

    def request_snapshot(self) -> None:
        self.asked.append("snapshot")


def test_handlers_are_put_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    recorder = Recorder()
    with Signals(recorder, "snapshot", "stop").active():
        for number in numbers:
            signal.raise_signal(number)
    assert recorder.asked == ["snapshot", "stop", "stop"]
    assert [signal.getsignal(number) for number in numbers] == before
