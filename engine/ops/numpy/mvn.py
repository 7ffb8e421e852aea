"""Mean-variance normalisation on numpy: the reference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp, source_and_target
from caffepy.engine.ops.numpy.planes import CHUNK_BYTES


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
            np.subtract(source[rows], source[rows].mean(axis=1, keepdims=True), out=part)
            if self.variance:
                deviation = np.sqrt(self._mean_product(part, part))
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
            mean = gradient.mean(axis=1, keepdims=True)
            if not self.variance:
                np.subtract(gradient, mean, out=part)
                continue
            along_result = self._mean_product(gradient, result[rows])
            product = self.take("product", part.shape)
            np.multiply(result[rows], along_result, out=product)
            np.subtract(gradient, mean, out=part)
            part -= product
            part /= self._divisor[rows]

    def _chunks(self) -> Iterator[slice]:
        """The rows, some at a time, so that what is made of them stays in the cache."""
        count, size = self.shape
        most = max(1, CHUNK_BYTES // (size * self.ops.dtype.itemsize))
        for start in range(0, count, most):
            yield slice(start, min(start + most, count))

    def _mean_product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(rows, 1) the mean of a b, for both (rows, size)."""
        product = np.multiply(a, b, out=self.take("product", a.shape))
        mean: np.ndarray = product.mean(axis=1, keepdims=True)
        return mean
