"""Sums along axes on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp


class Reduction(ScratchOp):
    """coeff times SUM x, ASUM |x|, SUMSQ x^2 or the MEAN of x, over the middle axis of
    (outer, size, inner)."""

    def __init__(self, ops: Ops, geometry: AxisGeometry, operation: str, coeff: float) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self.operation = operation
        self.coeff = ops.dtype.type(coeff / (geometry.size or 1) if operation == "MEAN" else coeff)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: (outer, inner) elements."""
        outer, _, inner = self.geometry.shape
        source = x.read().reshape(self.geometry.shape)
        if self.operation == "ASUM":
            source = np.abs(source, out=self.take("terms", source.shape))
        elif self.operation == "SUMSQ":
            source = np.square(source, out=self.take("terms", source.shape))
        total = out.write().reshape(outer, inner)
        np.sum(source, axis=1, out=total)
        total *= self.coeff

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x: coeff dy, for ASUM times the sign of x, for SUMSQ times 2 x."""
        outer, _, inner = self.geometry.shape
        gradient = dy.read().reshape(outer, 1, inner) * self.coeff
        target = out.write().reshape(self.geometry.shape)
        source = x.read().reshape(self.geometry.shape)
        if self.operation == "ASUM":
            np.sign(source, out=target)
            target *= gradient
        elif self.operation == "SUMSQ":
            np.multiply(source, 2 * gradient, out=target)
        else:
            target[...] = gradient
