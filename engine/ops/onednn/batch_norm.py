"""Batch normalisation on oneDNN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.batch_norm import BatchNorm, StatisticSums
from caffepy.engine.ops.onednn import normalised
from caffepy.engine.ops.onednn.binding import aligned
from caffepy.engine.ops.onednn.normalisation import Plan
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import (
    Kept,
    convolution_layout,
    source_and_target,
    tensor_layout,
)


class OneDnnBatchNorm(Op):
    """y = (x - mean) / sqrt(variance + eps) per channel; x seen as (samples, channels, pixels).

    mean, variance: (channels,) elements, sums of past statistics that fade by `fraction` per pass,
    wholly and nan too where that is 0; factor: (1,), the sum of their weights.

    In whatever layout x lies, and in that of a convolution where it is plain, which is slower. For
    shapes without such a layout, numpy does all passes.

    kept: holds x where y overwrites it.  batch_mean, batch_variance: of the last forward pass.
    merged_forward: what did its work, if that was not this op.
    """

    ops: PrimitiveOps

    def __init__(
        self,
        ops: PrimitiveOps,
        geometry: AxisGeometry,
        eps: float,
        fraction: float,
        weight: float = 1,
        unbiased: bool = True,
    ) -> None:
        """weight: that of a pass in the sums.  unbiased: for m elements per channel the variance is
        added m / (m - 1) times."""
        super().__init__(ops)
        self.geometry = geometry
        self.eps = eps
        self._adding = fraction, weight, unbiased
        self._sums = StatisticSums(ops.dtype, geometry, *self._adding)
        size = 4 * geometry.size
        self.batch_mean, self.batch_variance = aligned(size), aligned(size)
        self._zeros = aligned(size)
        self.kept = Kept(ops.scratchpad)
        self.merged_forward: normalised.MergedForward | None = None
        self._plans: dict[Layout, Plan] = {}
        self._plan: Plan | None = None  # of the last forward pass; None where it was numpy's
        self._numpy: BatchNorm | None = None

    @classmethod
    def supports(
        cls,
        ops: Ops,
        geometry: AxisGeometry,
        eps: float,
        fraction: float,
        weight: float = 1,
        unbiased: bool = True,
    ) -> bool:
        """Nothing empty, and an eps that keeps the padding of channels zero."""
        return min(geometry.shape) > 0 and np.float32(eps) > 0

    @step(reads="x mean variance factor", writes="out mean variance factor")
    def forward_train(
        self, x: Value, mean: Value, variance: Value, factor: Value, *, out: Value
    ) -> None:
        """out: like x, normalised by its own statistics; may be x. These are added to the sums."""
        self.train(self.keep(x, out), mean, variance, factor, out)

    @step(reads="x mean variance factor", writes="out")
    def forward_test(
        self, x: Value, mean: Value, variance: Value, factor: Value, *, out: Value
    ) -> None:
        """out: like x, normalised by the stored statistics (0 where factor is 0); may be x."""
        plan = self.plan_for(x)
        if plan is None:
            self._reference().forward_test(x, mean, variance, factor, out=out)
            return
        share = _share(factor)
        np.multiply(mean.read().reshape(-1), share, out=self.batch_mean)
        np.multiply(variance.read().reshape(-1), share, out=self.batch_variance)
        source, target = source_and_target(x, out, plan.layout)
        plan.given.forward(source, target, self.batch_mean, self.batch_variance)

    @step(reads="dy x", writes="out")
    def backward_train(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x after forward_train,
        (dy - mean(dy) - mean(dy y) y) / sqrt(variance + eps); may be dy. x may be what forward
        wrote over it."""
        plan, original = self._plan, self.kept.original(x)
        if plan is None:
            self._reference().backward_train(dy, original, out=out)
            return
        source, target = source_and_target(dy, out, plan.layout)
        content = original.read(plan.layout)
        plan.own.backward(source, content, target, self.batch_mean, self.batch_variance)

    @step(reads="dy", writes="out")
    def backward_test(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x after forward_test, dy / sqrt(variance + eps); may be dy."""
        plan = self._plan
        if plan is None:
            self._reference().backward_test(dy, out=out)
            return
        source, target = source_and_target(dy, out, plan.layout)
        plan.given.forward(source, target, self._zeros, self.batch_variance)

    def rearranged(self, before: Sequence[Step], step: Step) -> tuple[int, Sequence[Step]] | None:
        """Forward, what is before it writes x to where it is kept; backward, the gradients of Scale
        and ReLU come from the same primitive."""
        if step.method == "forward_train":
            return normalised.forward(self, before, step)
        if step.method == "backward_train":
            return normalised.backward(self, before, step)
        return None

    def keep(self, x: Value, out: Value) -> Value:
        """What a forward pass from x to out is to read: never out."""
        plan = self.plan_for(x)
        return self.kept.keep(x, out, PLAIN if plan is None else plan.layout)

    def train(self, x: Value, mean: Value, variance: Value, factor: Value, out: Value) -> None:
        """`forward_train` for an x that stays as it is until `backward_train`."""
        plan = self.plan_for(x)
        if plan is None:
            self._reference().forward_train(x, mean, variance, factor, out=out)
            return
        source, target = x.read(plan.layout), out.write(plan.layout)
        plan.own.forward(source, target, self.batch_mean, self.batch_variance)
        self.add_statistics(mean, variance, factor)

    def add_statistics(self, mean: Value, variance: Value, factor: Value) -> None:
        """Adds those of the batch to the sums."""
        self._sums.add((mean, variance, factor), self.batch_mean, self.batch_variance)

    def repeat(self, x: Value, out: Value) -> None:
        """Writes the result of the last `forward_train`, of x, once more."""
        plan = self._plan
        assert plan is not None, "numpy's passes are not merged"
        source, target = x.read(plan.layout), out.write(plan.layout)
        plan.given.forward(source, target, self.batch_mean, self.batch_variance)

    def stored_statistics(
        self, mean: Value, variance: Value, factor: Value
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `forward_test` subtracts and multiplies by, per channel."""
        share = _share(factor)
        spread = variance.read().reshape(-1) * share + np.float32(self.eps)
        return mean.read().reshape(-1) * share, 1 / np.sqrt(spread)

    def plan_for(self, x: Value) -> Plan | None:
        """At the beginning of a forward pass; None where x has to be plain, for numpy."""
        self.merged_forward = None
        layout = tensor_layout(x)
        plan = self._plans.get(layout)
        if plan is None:
            wanted = convolution_layout(x.shape) if layout is PLAIN else layout
            if wanted is not PLAIN:
                plan = self._plans.get(wanted)
                if plan is None:
                    plan = Plan(self.ops.scratchpad, wanted, x.shape, self.eps)
                self._plans[layout] = self._plans[wanted] = plan
        self._plan = plan
        return plan

    def _reference(self) -> BatchNorm:
        if self._numpy is None:
            self._numpy = BatchNorm(self.ops, self.geometry, self.eps, *self._adding)
        return self._numpy


def _share(factor: Value) -> np.float32:
    """What sums of statistics are multiplied by."""
    weight: np.float32 = factor.read().reshape(-1)[0]
    share: np.float32 = np.float32(0) if weight == 0 else 1 / weight
    return share
