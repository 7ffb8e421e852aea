"""Where the time of a whole step goes, group by group, as its recorded passes really run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from caffepy.engine.core.record import Step
from caffepy.engine.net import Net
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.updates.rule import find_rule
from caffepy.proto.caffe_pb2 import TRAIN, SolverParameter
from caffepy.tools.stopwatch import Stopwatch, stopwatch

# Steps before the first that counts: passes are recorded, memory finds its place, graphs are made.
WARM_UP = 4
# Rate 0 does the work of any other and leaves the weights as they are.
SGD = SolverParameter(base_lr=0, lr_policy="fixed", momentum=0.9, weight_decay=5e-4)
Group = tuple[str, str]  # the pass, and the layers


@dataclass
class Watched:
    """A step that was watched. total: its milliseconds.  groups: those of its parts, in the order
    in which they ran."""

    total: float = 0.0
    groups: dict[Group, float] = field(default_factory=dict)


class FusedTimes:
    """Times whole steps of a net: in phase TRAIN forward, backward and an update, else forward.

    Steps of a Program of one pass and the same layers are one group; the update is one too. Every
    other step is watched: the time is taken around each of its groups.

    watch: takes the time; the one for the net's backend by default.
    """

    def __init__(self, net: Net, watch: Stopwatch | None = None) -> None:
        self._net = net
        self._watch = stopwatch(net.ops) if watch is None else watch
        self._laps: list[tuple[Group, Any, Any]] = []  # of the step that runs
        self._pass = "forward"
        self._trains = net.phase == TRAIN
        settings = Settings(SGD)
        self._rule = find_rule(settings)(settings, net.parameters.learnable, net.ops)

    def table(self, iterations: int) -> Iterator[str]:
        """The lines of the table: means over the quicker half of so many watched steps, and of as
        many that were not watched, in turns."""
        for _ in range(WARM_UP):
            self._step()
        watched, whole = [], []
        for iteration in range(iterations):
            for turn in range(2):
                if (iteration + turn) % 2:
                    watched.append(self.watched())
                else:
                    whole.append(self.whole())
        half = sorted(watched, key=lambda one: one.total)[: (iterations + 1) // 2]
        plain = _mean(sorted(whole)[: len(half)])
        total = _mean([one.total for one in half])
        groups = {
            group: _mean([one.groups.get(group, 0.0) for one in half]) for group in half[0].groups
        }
        yield from _lines(groups, total, plain)

    def whole(self) -> float:
        """Milliseconds of a step."""
        started = self._watch.mark()
        self._step()
        milliseconds = self._watch.ms(started, self._watch.mark())
        self._net.ops.check()
        return milliseconds

    def watched(self) -> Watched:
        """A step with the times of its groups."""
        self._net.observer = self._observe
        try:
            found = Watched(self.whole())
        finally:
            self._net.observer = None
        for group, started, ended in self._laps:
            found.groups[group] = found.groups.get(group, 0.0) + self._watch.ms(started, ended)
        return found

    def _step(self) -> None:
        self._laps.clear()
        self._pass = "forward"
        if not self._trains:
            self._net.forward(look=False)
            return
        self._net.parameters.clear_diffs()
        self._net.forward(look=False)
        self._pass = "backward"
        self._net.backward()
        started = self._watch.mark()
        self._rule.update_all(0, 0.0, 1.0, False)
        self._laps.append((("update", "all parameters"), started, self._watch.mark()))

    def _observe(self, step: Step) -> None:
        started = self._watch.mark()
        step()
        self._laps.append(((self._pass, step.layer), started, self._watch.mark()))


def _lines(groups: dict[Group, float], total: float, plain: float) -> Iterator[str]:
    """groups, total: of watched steps.  plain: of the others; all in milliseconds."""
    inside = sum(groups.values())
    rows = [(*group, ms) for group, ms in groups.items()]
    rows += [
        ("", "sum of the groups", inside),
        ("", "between them", total - inside),
        ("", "whole step, watched", total),
        ("", "whole step, not watched", plain),
    ]
    width = max(len(layers) for _, layers, _ in rows)
    yield f"{'pass':<10}{'group':<{width}}{'ms':>12}{'share':>10}"
    for name, layers, ms in rows:
        yield f"{name:<10}{layers:<{width}}{ms:12.4f}{ms / total * 100:8.1f} %"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
