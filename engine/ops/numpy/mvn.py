"""Mean-variance normalisation on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp, source_and_target


class Mvn(ScratchOp):
    """(x - mean) / (deviation + eps), or x - mean only, for each row of x as (outer, size)."""

    def __init__(self, ops: Ops, geometry: AxisGeometry, variance: bool, eps: float) -> None:
        """variance: whether to divide."""
        super().__init__(ops)
        self.shape = geometry.outer, geometry.size * geometry.inner
        self.variance = variance
        self.eps = ops.dtype.type(eps)
        self._divisor = np.empty(0)  # (outer, 1), of the last forward pass

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        source, target = (array.reshape(self.shape) for array in source_and_target(x, out))
        if not target.size:
            return
        np.subtract(source, source.mean(axis=1, keepdims=True), out=target)
        if self.variance:
            squares = self.take("squares", self.shape)
            np.square(target, out=squares)
            self._divisor = np.sqrt(squares.mean(axis=1, keepdims=True)) + self.eps
            target /= self._divisor

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, (dy - mean(dy) - y mean(dy y)) / (deviation + eps), or
        dy - mean(dy); may be dy. y: what forward wrote."""
        source, target = (array.reshape(self.shape) for array in source_and_target(dy, out))
        if not target.size:
            return
        if not self.variance:
            np.subtract(source, source.mean(axis=1, keepdims=True), out=target)
            return
        product = self.take("squares", self.shape)
        result = y.read().reshape(self.shape)
        np.multiply(source, result, out=product)
        along_result = product.mean(axis=1, keepdims=True)
        np.multiply(result, along_result, out=product)
        np.subtract(source, source.mean(axis=1, keepdims=True), out=target)
        target -= product
        target /= self._divisor
