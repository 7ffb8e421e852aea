"""Rounds of a benchmark: those that count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.rounds import PATIENCE, MachineLoad, measure


class Scripted:
    """A machine on which others take so many CPU seconds in one round after the other."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.calls = 0

    def foreign(self) -> float:
        self.calls += 1
        return self.seconds.pop(0) if self.calls % 2 == 0 else 0.0  # before and after each round


def nothing() -> None:
    """A step."""


def test_rounds_that_others_disturb_are_taken_again() -> None:
    found = measure({"a": nothing, "b": nothing}, 2, 0.0, load=Scripted(9.0, 0.0, 9.0, 0.0))
    assert (found.taken, found.noisy, found.noisy_kept) == (4, 2, 0)
    assert [len(values) for values in found.ms.values()] == [2, 2]
    assert str(found) == "2 of 4 rounds, 2 disturbed by other programs"


def test_on_a_busy_machine_the_least_disturbed_rounds_count_and_it_says_so() -> None:
    found = measure({"a": nothing}, 2, 0.0, load=Scripted(*[9.0] * 2 * PATIENCE))
    assert (found.taken, found.noisy, found.noisy_kept) == (2 * PATIENCE, 2 * PATIENCE, 2)
    assert "for want of quiet ones" in str(found)


def test_the_load_of_others_is_what_the_kernel_counts_beyond_this_process(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    cpu = min(os.sched_getaffinity(0))
    second = os.sysconf("SC_CLK_TCK")

    def write(seconds: int) -> None:
        ticks = seconds * second
        stat.write_text(
            f"cpu{cpu} {ticks} 0 {ticks} 99 99 0 0 {ticks} 0 0\ncpu999 8 8 8 8 8 8 8 8\n"
        )

    write(0)
    load = MachineLoad(stat)
    write(2)
    assert load.foreign() == pytest.approx(6, abs=1)
    assert load.foreign() == 0
    stat.unlink()
    assert load.foreign() == 0
