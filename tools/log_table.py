"""The numbers in a training log, caffepy's or Caffe's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_ITERATION = re.compile(r"\] Iteration (\d+)")
_LOSS = re.compile(r"\] Iteration (\d+).*, loss = (\S+)")
_RATE = re.compile(r"\] Iteration (\d+), lr = (\S+)")
_TESTING = re.compile(r"\] Iteration (\d+), Testing net \(#(\d+)\)")
_OUTPUT = re.compile(r"\]\s+(Train|Test) net output #\d+: (\S+) = (\S+)")


@dataclass
class Series:
    """Numbers against iterations."""

    iterations: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)

    def add(self, iteration: int, number: str) -> None:
        """Appends a point; what is no number is nan."""
        try:
            parsed = float(number)
        except ValueError:
            parsed = float("nan")
        self.iterations.append(iteration)
        self.numbers.append(parsed)


@dataclass
class LogTable:
    """What a log says: the displayed loss, the learning rate, train outputs by name, test outputs
    by test
    net and name."""

    loss: Series = field(default_factory=Series)
    rate: Series = field(default_factory=Series)
    train: dict[str, Series] = field(default_factory=dict)
    test: dict[tuple[int, str], Series] = field(default_factory=dict)


def read_log(lines: Iterable[str]) -> LogTable:
    """Collects the numbers of a log's lines; other lines are passed over."""
    table = LogTable()
    iteration, test_net = 0, 0
    for line in lines:
        if found := _TESTING.search(line):
            iteration, test_net = int(found[1]), int(found[2])
        elif found := _RATE.search(line):
            table.rate.add(int(found[1]), found[2])
        elif found := _LOSS.search(line):
            iteration = int(found[1])
            table.loss.add(iteration, found[2])
        elif found := _ITERATION.search(line):
            iteration = int(found[1])
        elif found := _OUTPUT.search(line):
            phase, name, number = found.groups()
            if phase == "Train":
                series = table.train.setdefault(name, Series())
            else:
                series = table.test.setdefault((test_net, name), Series())
            series.add(iteration, number)
    return table
