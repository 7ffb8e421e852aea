"""Metric: one output of a test net by which a run is judged."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from caffepy.engine.core.errors import CaffepyError, NetError
from caffepy.engine.net import Net
from caffepy.engine.solver.callbacks import TestResult
from caffepy.proto.errors import did_you_mean

_OF_A_NET = re.compile(r"test(\d+)/(.+)")
_FALLING = re.compile("loss|error", re.IGNORECASE)


@dataclass
class Metric:
    """An output blob of a test net, and whether it should grow or fall.

    wanted: the output's name, after `testK/` where test net number K is meant; else the first test
    net that has it counts.
    direction: `max` or `min`; '' leaves it to the output: `min` where it has a loss weight or
    `loss` or `error` in its name, else `max`.
    name, net: the output and the number of its net, known after `check`.
    """

    wanted: str
    direction: str = ""
    name: str = ""
    net: int = 0

    @classmethod
    def parse(cls, text: str) -> Metric:
        """The metric in `NAME`, `NAME:max`, `NAME:min`. Raises: CaffepyError."""
        name, _, direction = text.rpartition(":")
        if direction not in ("max", "min"):
            name, direction = text, ""
        if not name.strip():
            raise CaffepyError(
                f"metric '{text}': expected NAME, NAME:max or NAME:min, got no name. Give the name "
                "of a test net's output, such as accuracy."
            )
        return cls(name.strip(), direction)

    def check(self, test_nets: Sequence[Net]) -> None:
        """Finds the output. Raises: NetError where no test net has it."""
        if not test_nets:
            raise NetError(
                f"metric '{self.wanted}': expected a test net that gives it, got a solver without "
                "any. Give the solver test_iter and test_interval."
            )
        by_number = _OF_A_NET.fullmatch(self.wanted)
        places = [(number, self.wanted) for number in range(len(test_nets))]
        if by_number and int(by_number[1]) < len(test_nets):
            places.append((int(by_number[1]), by_number[2]))
        for number, name in places:
            if name in test_nets[number].outputs:
                self.net, self.name = number, name
                break
        else:
            known = [name for net in test_nets for name in net.outputs]
            listed = [
                f"'{name}'" if len(test_nets) == 1 else f"'test{number}/{name}'"
                for number, net in enumerate(test_nets)
                for name in net.outputs
            ]
            remedy = did_you_mean(self.wanted, known) or " Use one of these."
            raise NetError(
                f"metric '{self.wanted}': expected an output of a test net "
                f"({', '.join(listed) or 'there is none'}), got another name.{remedy}"
            )
        if not self.direction:
            falls = _FALLING.search(self.name) or self.name in test_nets[self.net].loss_weights
            self.direction = "min" if falls else "max"

    def value(self, result: TestResult) -> float | None:
        """What a test gave, the mean where the output has several elements; None for a test of
        another net."""
        if result.net != self.net:
            return None
        values = [output.value for output in result.outputs if output.name == self.name]
        return sum(values) / len(values) if values else math.nan

    def is_better(self, value: float, than: float | None) -> bool:
        """Whether `value` is finite, and better than an earlier one, where there is one."""
        if not math.isfinite(value) or than is None:
            return math.isfinite(value)
        return value < than if self.direction == "min" else value > than

    def __str__(self) -> str:
        return f"{self.wanted}:{self.direction}" if self.direction else self.wanted
