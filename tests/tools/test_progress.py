"""The progress line: what it says, and that log lines on the terminal stay whole."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from caffepy.engine.solver.callbacks import TestResult
from caffepy.engine.solver.scores import Output
from caffepy.tools.progress import Progress

ROOT = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Goes on by a second at each look."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """What a logger of its own and the progress line both write to."""
    stream = Terminal()
    logger = logging.getLogger("test_progress")
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)


def a_solver(shape: tuple[int, ...] = (32, 3)) -> Any:
    top = SimpleNamespace(shape=shape)
    return SimpleNamespace(
        iteration=0,
        learning_rate=0.01,
        net=SimpleNamespace(layers=[SimpleNamespace(blobs=[])], bottoms=[[]], tops=[[top]]),
        settings=SimpleNamespace(param=SimpleNamespace(iter_size=2, max_iter=100)),
    )


def progress_on(terminal: Terminal, **options: Any) -> Progress:
    console = Console(file=terminal, force_terminal=True, width=200)
    return Progress(logging.getLogger("test_progress"), console=console, clock=Clock(), **options)


def step(progress: Progress, solver: Any, iterations: int = 10) -> None:
    solver.iteration += iterations
    progress.on_updated(solver)


def test_the_line_has_loss_score_rate_speed_and_time_left(terminal: Terminal) -> None:
    progress, solver = progress_on(terminal), a_solver()
    progress.on_start(solver)
    step(progress, solver)
    line = "10/100 10%  0:00:09 left  lr 0.01  640 images/s"
    assert progress.line(solver) == line
    progress.on_displayed(solver, 0.12345, 0.01)
    outputs = [Output(0, "loss", 0.5, 1.0), Output(1, "accuracy", 0.98765)]
    progress.on_tested(solver, TestResult(10, 0, outputs))
    step(progress, solver)
    line = "20/100 20%  0:00:08 left  loss 0.1235  lr 0.01  640 images/s  accuracy 0.9877"
    assert progress.line(solver) == line
    progress.close()


def test_a_run_of_few_iterations_counts_to_its_own_end(terminal: Terminal) -> None:
    progress, solver = progress_on(terminal, iterations=20), a_solver(())
    solver.iteration = 30
    progress.on_start(solver)
    step(progress, solver)
    assert progress.line(solver) == "40/50 80%  0:00:01 left  lr 0.01  10.0 iter/s"
    progress.close()


def test_log_lines_stand_whole_above_the_line(terminal: Terminal) -> None:
    logger = logging.getLogger("test_progress")
    progress, solver = progress_on(terminal), a_solver()
    long = "[x] 'a' 1.5 http://x :smile: [bold]" + "y" * 300
    progress.on_start(solver)
    for _ in range(3):
        step(progress, solver)
        logger.warning(long)
    progress.close()
    logger.warning("after")
    text = terminal.getvalue()
    assert text.count(long + "\n") == 3
    assert text.count("30/100 30%") >= 1
    assert text.endswith("after\n")
    assert "\x1b[2K" in text  # the line is erased before another text takes its place


def train_on_a_terminal(folder: Path, *options: str, hang_up_at: str = "") -> str:
    """What a training whose stderr is a pseudo terminal shows there. hang_up_at: the text after
    which the terminal goes away."""
    pty = pytest.importorskip("pty")
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "caffepy", "train", "-solver=solver.prototxt", *options],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "TERM": "xterm"},
        stderr=other,
    )
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 1 << 16)
        except OSError:  # the process is gone
            break
        if not part:
            break
        shown += part
        if hang_up_at and hang_up_at.encode() in shown:
            break
    os.close(main)
    assert process.wait(30) == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals are POSIX's")
def test_a_training_shows_it_on_a_terminal_only(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    options = ("-engine=numpy", "-set=snapshot=0", "-set=display=50", "-set=test_interval=500")
    shown = train_on_a_terminal(tmp_path, *options, "-set=max_iter=2000", "-set=base_lr=0.001")
    assert "/2000 " in shown
    assert "images/s" in shown
    assert len(re.findall(r"solver\.py:\d+\] Iteration \d+, lr = 0.001\n", shown)) == 40
    assert "] Optimization Done.\n" in shown
    assert "\x1b[2K" in shown.rpartition("images/s")[2]  # the line is gone at the end
    plain = train_on_a_terminal(tmp_path, *options, "-noprogress")
    assert "\x1b" not in plain
    assert "images/s" not in plain


@pytest.mark.skipif(os.name != "posix", reason="pseudo terminals are POSIX's")
def test_a_training_ends_well_though_its_terminal_is_gone(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    options = ("-engine=numpy", "-set=snapshot=0", "-set=display=50", "-set=test_interval=500")
    gone = ("-set=max_iter=1000", "-set=base_lr=0.001", "-set=snapshot_prefix=gone")
    shown = train_on_a_terminal(tmp_path, *options, *gone, hang_up_at="images/s")
    assert "Optimization Done." not in shown
    assert (tmp_path / "gone_iter_1000.solverstate").is_file()
