"""Tracing: a pass over layers that runs, and becomes a Program."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from caffepy.engine.core.record import Step, recorded
from caffepy.engine.core.value import Epoch, Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.passes import lifetimes
from caffepy.engine.passes.fuse import Placed, fuse
from caffepy.engine.passes.program import Program


class Trace:
    """What the layers of a pass do, one after the other.

    Calls of ops wait until a layer of another kind comes, or the pass ends; then they run as they
    do in the Program, fused, so that all runs give the same numbers and need the same memory.

    folds: whether no backward pass follows (`fuse`).
    """

    def __init__(self, ops: Ops, epoch: Epoch, folds: bool) -> None:
        self._ops = ops
        self._epoch = epoch
        self._folds = folds
        self._ran: list[Placed] = []
        self._waiting: list[Placed] = []
        self._given_up: list[Value] = []

    def record(
        self, place: int, layer: str, run: Callable[[], None], given_up: Sequence[Value] = ()
    ) -> None:
        """A layer that only calls ops, which `run` does.  given_up: the values that nobody reads
        after it."""
        steps = recorded(self._ops, run, layer, deferred=True)
        self._waiting += [(place, step) for step in steps]
        self._given_up += given_up

    def add(self, place: int, step: Step) -> None:
        """A step that waits as calls of ops do."""
        self._waiting.append((place, step))

    def run(self, place: int, step: Step) -> None:
        """A layer of another kind, which finds all that comes before it done."""
        self._catch_up()
        step()
        self._ran.append((place, step))

    def program(self) -> Program:
        """Ends the pass."""
        self._catch_up()
        return Program(self._ran, self._epoch.count)

    def _catch_up(self) -> None:
        if self._folds:
            steps = lifetimes.released_early(fuse(self._waiting, self._given_up), self._given_up)
        else:
            steps = fuse(self._waiting)
        Program(steps, self._epoch.count).run(self._epoch)
        self._ran += steps
        self._waiting, self._given_up = [], []
