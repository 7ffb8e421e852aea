"""Callbacks: what others do while a solver works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from caffepy.engine.net import Net
from caffepy.engine.solver.loss_window import LossWindow
from caffepy.engine.solver.scores import Output
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.updates.rule import UpdateRule


@dataclass(frozen=True)
class TestResult:
    """What one test of one test net gave. loss: the mean weighted loss, with test_compute_loss."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    iteration: int
    net: int
    outputs: Sequence[Output]
    loss: float | None = None


class Training(Protocol):
    """What callbacks see of a solver. iteration: how many are done.  seed: of this run.
    resumed_from: the state file it went on from, where there was one."""

    settings: Settings
    net: Net
    test_nets: list[Net]
    rule: UpdateRule
    seed: int
    iteration: int
    resumed_from: Path | None
    learning_rate: float
    losses: LossWindow

    def request_stop(self) -> None: ...

    def request_snapshot(self) -> None: ...

    def snapshot(self) -> None: ...


class Callback:
    """Does nothing at each of the moments of a solver; subclasses do something at some.

    Any of them may call `solver.request_stop()` or `solver.request_snapshot()`.

    ends_at_nan: whether it ends a run whose loss is nan or inf. On a GPU, updates do nothing then.
    """

    ends_at_nan: ClassVar[bool] = False

    def check(self, solver: Training) -> None:
        """`solve` was called. Refuses what cannot work, before any callback does anything."""

    def on_start(self, solver: Training) -> None:
        """`solve` begins."""

    def on_iteration(self, solver: Training) -> None:
        """An iteration begins; tests that are due before it are over."""

    def on_forward(self, solver: Training, net: Net) -> None:
        """The train net or a test net has run forward over a batch; nothing was made of it yet. On
        a GPU only where something is wrong with the batch, and when the host comes to look."""

    def on_gradients_ready(self, solver: Training) -> None:
        """Losses and gradients of an iteration are there; parameters are not updated yet."""

    def on_gradient_norm(self, solver: Training, norm: float) -> None:
        """clip_gradients has the L2 norm of all gradients; parameters are not updated yet."""

    def on_updated(self, solver: Training) -> None:
        """An iteration is over; `solver.iteration` counts it already."""

    def on_displayed(self, solver: Training, loss: float, rate: float | None) -> None:
        """The lines of a display are logged. loss: as they show it.  rate: the learning rate, None
        after the last iteration, where it is not shown."""

    def on_tested(self, solver: Training, result: TestResult) -> None:
        """A test net was run."""

    def on_snapshot_due(self, solver: Training) -> None:
        """A snapshot is about to be written."""

    def on_snapshot(self, solver: Training, weights: Path, state: Path) -> None:
        """A snapshot lies in these two files."""

    def on_end(self, solver: Training) -> None:
        """`solve` is done."""

    def state(self) -> dict[str, Any]:
        """What must survive a snapshot: plain numbers, strings, lists, arrays. A snapshot amid or
        right after tests holds what was true before them, since a resumed run repeats them."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""


@dataclass
class History(Callback):
    """Remembers what a run gave. Reading each loss waits for the device in every iteration.

    losses, rates: by iteration.  tests: in order.
    """

    losses: dict[int, float] = field(default_factory=dict)
    rates: dict[int, float] = field(default_factory=dict)
    tests: list[TestResult] = field(default_factory=list)

    def on_gradients_ready(self, solver: Training) -> None:
        self.losses[solver.iteration] = solver.losses.last()

    def on_updated(self, solver: Training) -> None:
        self.rates[solver.iteration - 1] = solver.learning_rate

    def on_tested(self, solver: Training, result: TestResult) -> None:
        self.tests.append(result)


@dataclass
class StopAfter(Callback):
    """Ends a run after a number of its iterations, whatever max_iter says."""

    iterations: int

    def on_updated(self, solver: Training) -> None:
        self.iterations -= 1
        if self.iterations <= 0:
            solver.request_stop()
