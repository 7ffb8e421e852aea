"""Sums along axes on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp, blocks
from caffepy.engine.ops.numpy.totals import row_sums


class Reduction(ScratchOp):
    """coeff times SUM x, ASUM |x|, SUMSQ x^2 or the MEAN of x, over the second axis of
    (outer, size)."""

    def __init__(self, ops: Ops, geometry: AxisGeometry, operation: str, coeff: float) -> None:
        """geometry: (outer, size, 1)."""
        super().__init__(ops)
        self.shape = geometry.shape[:2]
        self.operation = operation
        self.coeff = ops.dtype.type(coeff / (geometry.size or 1) if operation == "MEAN" else coeff)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: (outer,) elements."""
        source, total = x.read().reshape(self.shape), out.write().reshape(-1)
        if self.operation == "ASUM":
            for rows, _ in blocks((self.shape[0], 1, self.shape[1])):
                terms = np.abs(source[rows], out=self.take("terms", source[rows].shape))
                total[rows] = row_sums(terms)
        elif self.operation == "SUMSQ":
            total[:] = row_sums(source, source)
        else:
            total[:] = row_sums(source)
        total *= self.coeff

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x: coeff dy, for ASUM times the sign of x, for SUMSQ times 2 x."""
        gradient = dy.read().reshape(-1, 1) * self.coeff
        target, source = (array.reshape(self.shape) for array in (out.write(), x.read()))
        if self.operation == "ASUM":
            np.sign(source, out=target)
            target *= gradient
        elif self.operation == "SUMSQ":
            np.multiply(source, 2 * gradient, out=target)
        else:
            target[...] = gradient
