"""Timing several things in turns, without the rounds in which something else kept the CPUs busy."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Step = Callable[[], None]
Around = Mapping[str, Callable[[], contextlib.AbstractContextManager[object]]]

WARM_UP = 3  # calls before the first that counts
MOST_FOREIGN = 0.1  # CPUs that others may keep busy in a round that counts
TICKS = 4  # of the kernel's clock, by which its count of busy time may be off
PATIENCE = 3  # rounds are taken until enough were quiet, but not more than so many times as wanted


class Load(Protocol):
    """Measures what others take of the CPUs between two calls."""

    def foreign(self) -> float:
        """CPU seconds since the last call."""


class MachineLoad:
    """The time for which this process's CPUs were busy without it, other guests of the same host
    included. 0 where the system has no /proc/stat."""

    def __init__(self, path: Path = Path("/proc/stat")) -> None:
        self._path = path
        self._busy, self._own = self._read()

    def foreign(self) -> float:
        busy, own = self._read()
        found = (busy - self._busy) - (own - self._own)
        self._busy, self._own = busy, own
        if not self._path.exists():
            return 0.0
        return max(0.0, found - TICKS / os.sysconf("SC_CLK_TCK"))

    def _read(self) -> tuple[float, float]:
        own = time.process_time()
        if not self._path.exists():
            return 0.0, own
        wanted = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = 0
        for line in self._path.read_text().splitlines():
            name, *fields = line.split()
            if name in wanted:
                user, nice, system, _, _, irq, softirq, stolen = map(int, fields[:8])
                ticks += user + nice + system + irq + softirq + stolen
        return ticks / os.sysconf("SC_CLK_TCK"), own


@dataclass(frozen=True)
class _Round:
    """ms: of each thing.  foreign: CPUs that others kept busy meanwhile."""

    ms: dict[str, float]
    foreign: float

    @property
    def quiet(self) -> bool:
        return self.foreign <= MOST_FOREIGN


@dataclass(frozen=True)
class Measured:
    """ms: of each thing, one number per round that counts: the quiet ones, and where they are too
    few the least disturbed.  taken: rounds in all.  noisy: those among them that were disturbed.
    noisy_kept: disturbed ones that count nevertheless.
    """

    ms: dict[str, list[float]]
    taken: int
    noisy: int
    noisy_kept: int

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self.ms.items()}

    def __str__(self) -> str:
        counted = len(next(iter(self.ms.values()), ()))
        if not self.noisy:
            return f"{counted} rounds, none disturbed"
        kept = f", {self.noisy_kept} of which count for want of quiet ones"
        return (
            f"{counted} of {self.taken} rounds, {self.noisy} disturbed by other programs"
            f"{kept if self.noisy_kept else ''}"
        )


class Rounds:
    """Rounds as they are taken, until enough of them were quiet. load: what tells."""

    def __init__(self, wanted: int, load: Load | None = None) -> None:
        self._wanted = wanted
        self._load = load or MachineLoad()
        self._taken: list[_Round] = []
        self._started = 0.0

    @property
    def taken(self) -> int:
        return len(self._taken)

    @property
    def enough(self) -> bool:
        quiet = sum(one.quiet for one in self._taken)
        return quiet >= self._wanted or len(self._taken) >= PATIENCE * self._wanted

    def start(self) -> None:
        """A round begins."""
        self._load.foreign()
        self._started = time.perf_counter()

    def end(self, ms: dict[str, float]) -> None:
        """It is over. ms: of each thing."""
        foreign = self._load.foreign() / (time.perf_counter() - self._started)
        self._taken.append(_Round(ms, foreign))

    def result(self) -> Measured:
        kept = sorted(self._taken, key=lambda one: one.foreign)[: self._wanted]
        return Measured(
            {name: [one.ms[name] for one in kept] for name in kept[0].ms},
            len(self._taken),
            sum(not one.quiet for one in self._taken),
            sum(not one.quiet for one in kept),
        )


def measure(
    steps: Mapping[str, Step],
    rounds: int,
    seconds: float,
    *,
    around: Around | None = None,
    load: Load | None = None,
) -> Measured:
    """Milliseconds per call of each step. In each round each step runs for about `seconds`, every
    other round in the opposite order; rounds that others disturb are taken again.

    around: context managers for the time in which a step of that name runs.
    """
    around = around or {}
    repeats = {}
    for name, step in steps.items():
        with around.get(name, contextlib.nullcontext)():
            for _ in range(WARM_UP):
                step()
            repeats[name] = max(1, round(seconds / (_seconds(step, 1) or seconds)))
    all_rounds = Rounds(rounds, load)
    while not all_rounds.enough:
        order = list(steps)
        if all_rounds.taken % 2:
            order.reverse()
        all_rounds.start()
        ms = {}
        for name in order:
            with around.get(name, contextlib.nullcontext)():
                ms[name] = _seconds(steps[name], repeats[name]) * 1e3 / repeats[name]
        all_rounds.end(ms)
    return all_rounds.result()


def _seconds(step: Step, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        step()
    return time.perf_counter() - started
