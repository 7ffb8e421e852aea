"""Batch normalisation on oneDNN."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.batch_norm import BatchNorm
from caffepy.engine.ops.onednn.binding import NormalisationFlag, Scratchpad, aligned
from caffepy.engine.ops.onednn.normalisation import Normalisation
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import (
    Kept,
    convolution_layout,
    describe_layout,
    source_and_target,
    tensor_layout,
)


class OneDnnBatchNorm(Op):
    """y = (x - mean) / sqrt(variance + eps) per channel; x seen as (samples, channels, pixels).

    mean, variance: (channels,), sums of past statistics that fade by `fraction` per pass; factor:
    (1,), the sum of their weights.

    In whatever layout x lies, and in that of a convolution where it is plain, which is slower. For
    shapes without such a layout, numpy does all passes.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, geometry: AxisGeometry, eps: float, fraction: float):
        super().__init__(ops)
        self.geometry = geometry
        self.eps = eps
        self.fraction = np.float32(fraction)
        count = geometry.outer * geometry.inner
        self._unbiased = np.float32(count / (count - 1) if count > 1 else 1)
        size = 4 * geometry.size
        self._mean, self._variance = aligned(size), aligned(size)  # of the last forward pass
        self._zeros, self._scratch = aligned(size), aligned(size)
        self._plans: dict[Layout, _Plan] = {}
        self._plan: _Plan | None = None  # of the last forward pass; None where it was numpy's
        self._numpy: BatchNorm | None = None

    @classmethod
    def supports(cls, ops: Ops, geometry: AxisGeometry, eps: float, fraction: float) -> bool:
        """Nothing empty, and an eps that keeps the padding of channels zero."""
        return min(geometry.shape) > 0 and np.float32(eps) > 0

    @step(reads="x mean variance factor", writes="out mean variance factor")
    def forward_train(
        self, x: Value, mean: Value, variance: Value, factor: Value, *, out: Value
    ) -> None:
        """out: like x, normalised by its own statistics; may be x. These are added to the sums: the
        variance times m / (m - 1), for m elements per channel."""
        plan = self._plan = self._plan_for(x)
        if plan is None:
            self._reference().forward_train(x, mean, variance, factor, out=out)
            return
        source, target = source_and_target(x, out, plan.layout)
        plan.own.forward(plan.kept.keep(source, target), target, self._mean, self._variance)
        np.multiply(self._variance, self._unbiased, out=self._scratch)
        for value, new in ((mean, self._mean), (variance, self._scratch), (factor, 1)):
            total = value.modify().reshape(-1)
            total *= self.fraction
            total += new

    @step(reads="x mean variance factor", writes="out")
    def forward_test(
        self, x: Value, mean: Value, variance: Value, factor: Value, *, out: Value
    ) -> None:
        """out: like x, normalised by the stored statistics (0 where factor is 0); may be x."""
        plan = self._plan = self._plan_for(x)
        if plan is None:
            self._reference().forward_test(x, mean, variance, factor, out=out)
            return
        weight = factor.read().reshape(-1)[0]
        share = np.float32(0) if weight == 0 else 1 / weight
        np.multiply(mean.read().reshape(-1), share, out=self._mean)
        np.multiply(variance.read().reshape(-1), share, out=self._variance)
        source, target = source_and_target(x, out, plan.layout)
        plan.given.forward(source, target, self._mean, self._variance)

    @step(reads="dy x", writes="out")
    def backward_train(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x after forward_train,
        (dy - mean(dy) - mean(dy y) y) / sqrt(variance + eps); may be dy. x may be what forward
        wrote over it."""
        plan = self._plan
        if plan is None:
            self._reference().backward_train(dy, x, out=out)
            return
        original = plan.kept.read(x, plan.layout)
        source, target = source_and_target(dy, out, plan.layout)
        plan.own.backward(source, original, target, self._mean, self._variance)

    @step(reads="dy", writes="out")
    def backward_test(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x after forward_test, dy / sqrt(variance + eps); may be dy."""
        plan = self._plan
        if plan is None:
            self._reference().backward_test(dy, out=out)
            return
        source, target = source_and_target(dy, out, plan.layout)
        plan.given.forward(source, target, self._zeros, self._variance)

    def _plan_for(self, x: Value) -> _Plan | None:
        """None where x has to be plain."""
        layout = tensor_layout(x)
        plan = self._plans.get(layout)
        if plan is None:
            wanted = convolution_layout(x.shape) if layout is PLAIN else layout
            if wanted is PLAIN:
                return None
            plan = self._plans.get(wanted)
            if plan is None:
                plan = _Plan(self.ops.scratchpad, wanted, x.shape, self.eps)
            self._plans[layout] = self._plans[wanted] = plan
        return plan

    def _reference(self) -> BatchNorm:
        if self._numpy is None:
            self._numpy = BatchNorm(self.ops, self.geometry, self.eps, float(self.fraction))
        return self._numpy


class _Plan:
    """All passes for one layout of x: with the statistics of x itself, and with given ones."""

    def __init__(
        self, scratchpad: Scratchpad, layout: Layout, shape: tuple[int, ...], eps: float
    ) -> None:
        self.layout = layout
        tensor = describe_layout(layout, shape)
        self.kept = Kept(scratchpad, tensor)
        self.own = Normalisation(scratchpad, tensor, eps)
        self.given = Normalisation(scratchpad, tensor, eps, NormalisationFlag.GIVEN_STATISTICS)
