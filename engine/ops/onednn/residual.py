"""The gradient of a sum with ReLU in place of it, as at the end of a residual block."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layout import Layout
from caffepy.engine.core.record import Step, joined
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.onednn.activation import OneDnnRelu
from caffepy.engine.ops.onednn.binding import Algorithm
from caffepy.engine.ops.onednn.flat import Elementwise
from caffepy.engine.ops.onednn.port import PrimitiveOps


class RectifiedGradient(Op):
    """dy where x is above 0, as the gradient of each term of the sum: written to the first of them
    at once, not to dy and then to all.

    steps: the backward passes of ReLU and Eltwise.  released: whether a third step releases dy.
    Only then nobody sees what ReLU makes of it, and they run as one.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, steps: Sequence[Step], released: bool = False) -> None:
        super().__init__(ops)
        self._steps = tuple(steps)
        self._x: Value = steps[0].arguments["x"]
        self._diff: Value = steps[0].arguments["dy"]
        outs = steps[1].arguments["outs"]
        self._outs: list[Value] = [out for out in outs if out is not None]
        self._gradient = Elementwise(ops, Algorithm.RELU)
        self._copies = [Elementwise(ops, Algorithm.LINEAR, 1.0) for _ in self._outs[1:]]
        self.step = joined(self._steps, self._run if released else self._one_by_one, self)

    @classmethod
    def of(cls, ops: PrimitiveOps, before: Step, step: Step) -> Step | None:
        """One step for the backward pass of a sum and the step before it, if that is ReLU's."""
        diff, given = step.arguments["dy"], before.arguments
        if (
            not isinstance(before.op, OneDnnRelu)
            or before.op.slope
            or before.method != "backward"
            or not given["dy"] is given["out"] is diff
        ):
            return None
        return cls(ops, (before, step)).step

    def merged(self, step: Step, after: Step) -> Step | None:
        """The release of dy."""
        values = after.arguments["values"] if after.method == "release" else ()
        if not any(value is self._diff for value in values):
            return None
        return RectifiedGradient(self.ops, (*self._steps, after), released=True).step

    def _one_by_one(self) -> None:
        for one in self._steps:
            one()

    def _run(self) -> None:
        layout: Layout = self._steps[1].op.layout
        if self._diff.leased or layout is not self._x.fresh_layout or not self._outs:
            self._one_by_one()
            return
        target, *others = (out.write(layout) for out in self._outs)
        self._gradient.gradient(self._x.read(layout), self._diff.read(layout), target)
        for copy, other in zip(self._copies, others, strict=True):
            copy(target, other)
        self._steps[-1]()
