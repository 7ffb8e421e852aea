"""Rectified linear units with slopes that are learnt, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.activation import leak, leak_slope
from caffepy.engine.ops.numpy.arrays import Kept, ScratchOp, blocks, source_and_target
from caffepy.engine.ops.numpy.totals import channel_sums


class PRelu(ScratchOp):
    """max(x, 0) + a min(x, 0), with x seen as (outer, size, inner) and a of `size` elements."""

    def __init__(self, ops: Ops, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._kept = Kept()

    @step(reads="x a", writes="out")
    def forward(self, x: Value, a: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        source, target = (self._seen(array) for array in source_and_target(x, out))
        slopes = a.read().reshape(-1, 1)
        for block in blocks(self.geometry.shape):
            part = source[block]
            leak(part, slopes[block[1]], self.take("below", part.shape), target[block])

    @step(reads="dy x a", writes="out")
    def backward_data(self, dy: Value, x: Value, a: Value, *, out: Value) -> None:
        """out: gradient of x; may be dy. x may be what forward wrote over it."""
        source, target = (self._seen(array) for array in source_and_target(dy, out))
        original, slopes = self._seen(self._kept.read(x)), a.read().reshape(-1, 1)
        for block in blocks(self.geometry.shape):
            part = source[block]
            slope = self.take("below", part.shape)
            leak_slope(original[block], slopes[block[1]], slope)
            np.multiply(part, slope, out=target[block])

    @step(reads="dy x", adds="add_a")
    def backward_params(self, dy: Value, x: Value, *, add_a: Value) -> None:
        """Adds the gradient of a: the sum of dy min(x, 0)."""
        gradient, original = self._seen(dy.read()), self._seen(self._kept.read(x))
        total = add_a.modify().reshape(-1)
        for block in blocks(self.geometry.shape):
            below = self.take("below", original[block].shape)
            np.clip(original[block], -np.inf, 0, out=below)
            total[block[1]] += channel_sums(gradient[block], below)

    def _seen(self, array: np.ndarray) -> np.ndarray:
        """(outer, size, inner)"""
        return array.reshape(self.geometry.shape)
