"""Lookout: when the host looks at what a GPU found wrong, and says what that was."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.core.record import Step, recorded
from caffepy.engine.core.value import Value
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.engine.solver.net_state import net_state, restore_net

INTERVAL = 100  # passes of the train net between two looks, at most


class Watched(Training, Protocol):
    """A solver as its lookout sees it."""

    ops: Ops
    callbacks: list[Callback]


@dataclass(frozen=True)
class _Pass:
    """A forward pass since the last look, and where the solver stood."""

    net: Net
    iteration: int
    learning_rate: float


class Lookout:
    """Runs the forward passes of a solver, and finds what is wrong with them.

    Where calls of ops return before their work is done (`Ops.late`), the device notes the first
    pass with a bad label or loss, and does no update from then on. The host looks when somebody is
    to see results, and every INTERVAL passes. Where it finds a note, it takes the nets back to the
    last look, runs the passes up to the bad one, whose parameters are still those it had, and lets
    the callbacks look at that.

    On other backends passes raise at once, and callbacks look at each.
    """

    def __init__(self, solver: Watched) -> None:
        self._solver = solver
        self._ops = solver.ops
        self._late = solver.ops.late
        self._passes: list[_Pass] = []
        self._states: list[tuple[Net, dict[str, Any]]] = []
        if self._late:
            self._watch = solver.ops.pass_watch(f"net '{solver.net.name}': loss")
            self._first = Value((1,), np.uint64)

    def forward(self, net: Net) -> None:
        """One pass of one of the solver's nets."""
        if not self._late:
            net.forward()
            self._show(net)
            return
        self.expect(net)
        net.forward(look=False)
        self.note(net)
        self.watch(net)

    # ---- the parts of a pass, for who runs it; only where calls return before their work is done

    def expect(self, net: Net) -> None:
        """A pass is about to run."""
        if net is self._solver.net and len(self._passes) >= INTERVAL:
            self.look()
        self._watch.renew(iteration=self._solver.iteration, number=len(self._passes) + 1)

    def note(self, net: Net) -> None:
        """A pass forward was run."""
        solver = self._solver
        self._passes.append(_Pass(net, solver.iteration, solver.learning_rate))

    def watch(self, net: Net) -> None:
        """Lets the device look at a pass."""
        trains = net is self._solver.net
        stop = trains and any(one.ends_at_nan for one in self._solver.callbacks)
        self._watch.forward(net.loss, stop=stop, add_first=self._first)

    def watching(self, net: Net) -> list[Step]:
        """What `watch` does, as steps."""
        return recorded(self._ops, lambda: self.watch(net), "(watch)", deferred=True)

    # ---- what the host sees

    def begin(self) -> None:
        """All is well up to here."""
        self._passes.clear()
        if self._late:
            nets = self._solver.net, *self._solver.test_nets
            # layers may go on changing what they gave
            self._states = [(net, copy.deepcopy(net_state(net))) for net in nets]

    def look(self) -> None:
        """Raises what is wrong with the passes since the last look."""
        if self._late:
            self._raise_found()
            self.begin()

    def end_test(self, net: Net, results: Iterable[float]) -> None:
        """After the passes of a test. Where its results are not finite, callbacks look at each."""
        if self._late:
            self._raise_found()
            if not all(math.isfinite(result) for result in results):
                self._repeat(net, self._passes, shown=True)
            self.begin()

    def _raise_found(self) -> None:
        """Raises what was reported, with all that can be said of it."""
        try:
            self._ops.check()
        except CaffepyError as error:
            found = error
        else:
            return
        number = int(self._first.content()[0])
        self._first.clear()
        if number:
            bad = self._passes[number - 1]
            self._repeat(bad.net, self._passes[: number - 1], shown=False)
            self._solver.iteration, self._solver.learning_rate = bad.iteration, bad.learning_rate
            bad.net.forward()
            self._show(bad.net)
        raise found

    def _repeat(self, net: Net, passes: Iterable[_Pass], *, shown: bool) -> None:
        """Runs the passes of a net again, from where it stood at the last look."""
        for one, state in self._states:
            if one is net:
                restore_net(net, state)
        for each in passes:
            if each.net is net:
                net.forward(look=False)
                if shown:
                    self._show(net)

    def _show(self, net: Net) -> None:
        for callback in self._solver.callbacks:
            callback.on_forward(self._solver, net)
