"""Sums, copies and fills of whole values on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda import residual
from caffepy.engine.ops.cuda.eltwise import EltwiseOp
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.totals import ChannelTotals
from caffepy.engine.ops.geometry import AxisGeometry

ELEMENTS = 4096  # that one block of threads sums up


class CudaSum(EltwiseOp):
    """Adds values of one shape; with one of them, a copy."""

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """out: the sum, in the order given; may be one of xs only if it is the first."""
        if len(xs) > 1:
            self.add_up((1.0,) * len(xs), xs, out)
        elif out.count and not out.shares_memory_with(xs[0]):
            layout = self.ops.layout
            self.ops.runtime.copy(xs[0].read(layout), out.write(layout))

    def merged(self, step: Step, after: Step) -> Step | None:
        """The backward pass of ReLU in place."""
        return residual.sum_merged(step, after)


class CudaFill(CudaOp):
    """Writes one number everywhere."""

    family = "activation"

    def __init__(self, ops: DeviceOps, constant: float) -> None:
        super().__init__(ops)
        self.constant = constant

    @step(writes="out")
    def forward(self, *, out: Value) -> None:
        """out: `constant` everywhere."""
        self.launch("fill", out.count, self.constant, out)


class CudaWeightedSum(CudaOp):
    """The loss of a net: for each value the sum of its elements times a weight, all added up."""

    family = "sums"

    def __init__(self, ops: DeviceOps, weights: Sequence[float]) -> None:
        super().__init__(ops)
        self.weights = tuple(weights)
        self._totals: dict[int, ChannelTotals] = {}  # by count
        self._total = self.scratch(1)

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """out: a scalar."""
        kernel = "first_loss"
        for x, weight in zip(xs, self.weights, strict=True):
            part = x if x.count <= ELEMENTS else self._summed(x)
            self.launch_rows(kernel, 1, part.count, weight, part, out)
            kernel = "next_loss"
        if not xs:
            self.launch_rows(kernel, 1, 0, 0.0, self._total, out)

    def _summed(self, x: Value) -> Value:
        """The sum of many elements."""
        if x.count not in self._totals:
            self._totals[x.count] = ChannelTotals(self.ops, AxisGeometry(1, 1, x.count))
        totals = self._totals[x.count]
        totals.take("sum", x)
        totals.give(out=self._total)
        return self._total
