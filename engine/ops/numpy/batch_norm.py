"""Batch normalisation on numpy: the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import Kept, ScratchOp, blocks, source_and_target
from caffepy.engine.ops.numpy.totals import channel_sums


def statistic_weights(geometry: AxisGeometry, weight: float, unbiased: bool) -> tuple[float, float]:
    """How many times the mean and the variance of a pass are added to the sums; see BatchNorm."""
    count = geometry.outer * geometry.inner
    return weight, weight * (count / (count - 1) if unbiased and count > 1 else 1)


class StatisticSums:
    """How sums of statistics fade, and those of a pass are added; see BatchNorm."""

    def __init__(
        self, dtype: Any, geometry: AxisGeometry, fraction: float, weight: float, unbiased: bool
    ) -> None:
        self._fraction = dtype.type(fraction)
        weights = statistic_weights(geometry, weight, unbiased)
        self._weight, self._of_variance = (dtype.type(number) for number in weights)
        self._scratch = np.empty(geometry.size, dtype)

    def add(self, sums: Sequence[Value], mean: np.ndarray, variance: np.ndarray) -> None:
        """sums: of the means, the variances and their weights.  mean, variance: (channels,)."""
        for value, new, weight in zip(
            sums, (mean, variance, None), (self._weight, self._of_variance, self._weight),
            strict=True,
        ):  # fmt: skip
            total = value.modify().reshape(-1)
            if self._fraction:
                total *= self._fraction
            else:
                total.fill(0)
            total += weight if new is None else np.multiply(new, weight, out=self._scratch)


class BatchNorm(ScratchOp):
    """y = (x - mean) / sqrt(variance + eps) per channel; x seen as (samples, channels, pixels).

    mean, variance: (channels,) elements, sums of past statistics that fade by `fraction` per pass,
    wholly and nan too where that is 0; factor: (1,), the sum of their weights.
    """

    def __init__(
        self,
        ops: Ops,
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
        self.eps = ops.dtype.type(eps)
        self._sums = StatisticSums(ops.dtype, geometry, fraction, weight, unbiased)
        self._kept = Kept()
        self._mean = self._inverse = np.empty(0)  # (channels, 1), those of the last forward pass

    @step(reads="x mean variance factor", writes="out mean variance factor")
    def forward_train(
        self, x: Value, mean: Value, variance: Value, factor: Value, *, out: Value
    ) -> None:
        """out: like x, normalised by its own statistics; may be x. These are added to the sums."""
        self._kept.keep(x, out)
        source, target = (self._seen(array) for array in source_and_target(x, out))
        count = self.geometry.outer * self.geometry.inner
        batch_mean = channel_sums(source) / self.ops.dtype.type(count)
        self._mean = batch_mean.reshape(-1, 1)
        batch_variance = np.zeros_like(batch_mean)
        for block in blocks(self.geometry.shape):
            np.subtract(source[block], self._mean[block[1]], out=target[block])
            batch_variance[block[1]] += channel_sums(target[block], target[block])
        batch_variance /= self.ops.dtype.type(count)
        self._inverse = 1 / np.sqrt(batch_variance + self.eps).reshape(-1, 1)
        target *= self._inverse
        self._sums.add((mean, variance, factor), batch_mean, batch_variance)

    @step(reads="x mean variance factor", writes="out")
    def forward_test(
        self, x: Value, mean: Value, variance: Value, factor: Value, *, out: Value
    ) -> None:
        """out: like x, normalised by the stored statistics (0 where factor is 0); may be x."""
        weight = factor.read().reshape(-1)[0]
        share = self.ops.dtype.type(0) if weight == 0 else 1 / weight
        self._mean = (mean.read() * share).reshape(-1, 1)
        self._inverse = 1 / np.sqrt(variance.read() * share + self.eps).reshape(-1, 1)
        source, target = (self._seen(array) for array in source_and_target(x, out))
        np.subtract(source, self._mean, out=target)
        target *= self._inverse

    @step(reads="dy x", writes="out")
    def backward_train(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x after forward_train,
        (dy - mean(dy) - mean(dy y) y) / sqrt(variance + eps); may be dy. x may be what forward
        wrote over it."""
        original = self._seen(self._kept.read(x))
        source, target = (self._seen(array) for array in source_and_target(dy, out))
        count = self.ops.dtype.type(self.geometry.outer * self.geometry.inner)
        along_normal, along_ones = np.zeros((2, self.geometry.size), self.ops.dtype)
        for block in blocks(self.geometry.shape):
            normal = self._normal(original, block)
            along_normal[block[1]] += channel_sums(source[block], normal)
            along_ones[block[1]] += channel_sums(source[block])
        along_normal /= count
        along_ones /= count
        for block in blocks(self.geometry.shape):
            normal, part = self._normal(original, block), target[block]
            normal *= along_normal[block[1]].reshape(-1, 1)
            np.subtract(source[block], along_ones[block[1]].reshape(-1, 1), out=part)
            part -= normal
            part *= self._inverse[block[1]]

    @step(reads="dy", writes="out")
    def backward_test(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x after forward_test, dy / sqrt(variance + eps); may be dy."""
        source, target = (self._seen(array) for array in source_and_target(dy, out))
        np.multiply(source, self._inverse, out=target)

    def _normal(self, x: np.ndarray, block: tuple[slice, slice]) -> np.ndarray:
        """A block of x, normalised as in the last forward pass, in scratch."""
        normal = self.take("normal", x[block].shape)
        np.subtract(x[block], self._mean[block[1]], out=normal)
        normal *= self._inverse[block[1]]
        return normal

    def _seen(self, array: np.ndarray) -> np.ndarray:
        """(samples, channels, pixels)"""
        return array.reshape(self.geometry.shape)
