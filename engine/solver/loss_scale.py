"""LossScale: what keeps the gradients of a training within the range of products in 16 bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from caffepy.engine.core import log
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.solver.callbacks import Callback, Training


class Scaled(Training, Protocol):
    """A solver as its loss scale sees it."""

    ops: Ops
    callbacks: list[Callback]


class LossScale:
    """What a solver asks of its loss scale. Here there is none: gradients are what they are."""

    def norm(self, squares: Value) -> float | None:
        """The norm of the gradients. squares: of all diffs together, a scalar.

        None where the update is to be without them, as they are not finite in spite of a finite
        loss.
        """
        return math.sqrt(float(squares.read()))

    def log(self) -> None:
        """The lines that belong to a display."""

    def state(self) -> Sequence[float]:
        """What exact resume needs."""
        return ()

    def restore(self, state: Sequence[float]) -> None:
        """Takes back what `state` gave."""


class DynamicLossScale(LossScale):
    """The gradients of losses times a power of 2 that follows what the gradients allow.

    From a backward pass to the update, all diffs of the train net, those of blobs and parameters,
    are the gradients times the scale: so callbacks, debug_info and pycaffe see them. The update
    divides by it, so that weights, histories, and the update that a parameter's diff may keep, are
    what they are without. Where a gradient is nan or inf, the device skips the update, and the
    scale is halved; the iteration counts all the same.
    """

    def __init__(self, solver: Scaled) -> None:
        self._solver = solver
        self._op = solver.ops.loss_scale(f"net '{solver.net.name}'")
        self._skipped = 0  # updates, when they were logged last
        self._logged = solver.iteration
        solver.net.scale_losses(self._fill)
        solver.rule.depend_on(self._judge, self._op.factor)

    def norm(self, squares: Value) -> float | None:
        scaled = math.sqrt(float(squares.read()))
        return scaled / self.state()[0] if math.isfinite(scaled) else None

    def log(self) -> None:
        """How many updates were skipped since the last display, and that diffs are scaled where
        they are shown."""
        solver, (scale, _, skipped) = self._solver, self.state()
        if solver.net.debug_info:
            log.info(f"    [Backward] All diffs are {scale:g} times the gradients (loss scale)")
        if skipped > self._skipped:
            log.info(
                f"Loss scale {scale:g}: {skipped - self._skipped:g} of "
                f"{solver.iteration - self._logged} updates skipped, whose gradients were beyond "
                "fp16"
            )
        self._skipped, self._logged = int(skipped), solver.iteration

    def state(self) -> Sequence[float]:
        """The scale, the updates since it changed, and those that were skipped."""
        return [float(number) for number in self._op.state.content()]

    def restore(self, state: Sequence[float]) -> None:
        self._op.state.write()[...] = state
        self._skipped, self._logged = int(state[2]), self._solver.iteration

    def _fill(self, diff: Value, weight: float) -> None:
        self._op.forward(weight, out=diff)

    def _judge(self, diffs: Sequence[Value]) -> None:
        solver = self._solver
        stop = any(one.ends_at_nan for one in solver.callbacks)
        self._op.renew(solver.iteration)
        self._op.judge(diffs, stop=stop)


def make_loss_scale(solver: Scaled) -> LossScale:
    """The loss scale that the backend of a solver needs."""
    return DynamicLossScale(solver) if solver.ops.scales_loss else LossScale()
