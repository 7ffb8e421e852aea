"""Mean-variance normalisation on numpy: the reference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp, blocks, source_and_target
from caffepy.engine.ops.numpy.totals import row_sums


class Mvn(ScratchOp):
    """(x - mean) / (deviation + eps), or x - mean only, for each row of x as (outer, size)."""

    def __init__(self, ops: Ops, geometry: AxisGeometry, variance: bool, eps: float) -> None:
        """variance: whether to divide."""
        super().__init__(ops)
        self.shape = geometry.outer, geometry.size * geometry.inner
        self.variance = variance
        self.eps = ops.dtype.type(eps)
        self._divisor = np.empty((geometry.outer, 1), ops.dtype)  # of the last forward pass

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        source, target = (array.reshape(self.shape) for array in source_and_target(x, out))
        if not target.size:
            return
        for rows in self._chunks():
            part = target[rows]
            np.subtract(source[rows], self._means(source[rows]), out=part)
            if self.variance:
                deviation = np.sqrt(self._means(part, part))
                self._divisor[rows] = deviation + self.eps
                part /= self._divisor[rows]

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, (dy - mean(dy) - y mean(dy y)) / (deviation + eps), or
        dy - mean(dy); may be dy. y: what forward wrote."""
        source, target = (array.reshape(self.shape) for array in source_and_target(dy, out))
        if not target.size:
            return
        result = y.read().reshape(self.shape)
        for rows in self._chunks():
            part, gradient = target[rows], source[rows]
            mean = self._means(gradient)
            if not self.variance:
                np.subtract(gradient, mean, out=part)
                continue
            along_result = self._means(gradient, result[rows])
            product = self.take("product", part.shape)
            np.multiply(result[rows], along_result, out=product)
            np.subtract(gradient, mean, out=part)
            part -= product
            part /= self._divisor[rows]

    def _chunks(self) -> Iterator[slice]:
        """The rows, some at a time, so that what is made of them stays in the cache."""
        count, size = self.shape
        for rows, _ in blocks((count, 1, size)):
            yield rows

    def _means(self, *factors: np.ndarray) -> np.ndarray:
        """(rows, 1) the mean of each row of (rows, size), or of the product of two."""
        means = row_sums(*factors)
        means /= self.shape[1]
        return means.reshape(-1, 1)
