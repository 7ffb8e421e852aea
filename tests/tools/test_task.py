"""How far a command is: told after a moment, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from caffepy.tools import task
from caffepy.tools.task import Task


class Clock:
    """Shows what it is set to."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_short_work_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="caffepy")
    clock = Clock()
    with Task("images", 10, clock=clock) as work:
        clock.seconds = task.AFTER_S / 2
        work.advance(10)
    assert not caplog.messages


def test_without_a_terminal_there_are_log_lines_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="caffepy")
    clock = Clock()
    with Task("images", 100, done=20, clock=clock) as work:
        for seconds in (1, 4, 5, 6, 20):
            clock.seconds = seconds
            work.advance(8)
    assert caplog.messages == [
        "Progress: 36/100 images 36%  4 images/s  0:00:16 left",
        "Progress: 60/100 images 60%  2 images/s  0:00:20 left",
    ]


def test_what_has_no_known_end_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="caffepy")
    clock = Clock()
    with Task("records", clock=clock) as work:
        clock.seconds = 4.0
        work.advance(1000)
    assert caplog.messages == ["Progress: 1000 records  250 records/s"]


def test_on_a_terminal_there_is_a_line_that_goes_away() -> None:
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, force_terminal=True, width=100)
    with Task("images", 100, console=console, clock=clock) as work:
        for seconds in (1, 3, 3.1, 4):
            clock.seconds = seconds
            work.advance(10)
    shown = screen.getvalue()
    assert "20/100 images 20%  7 images/s  0:00:12 left" in shown
    assert "30/100" not in shown
    assert "40/100" in shown
    assert "\x1b[2K" in shown.rpartition("40/100")[2]
