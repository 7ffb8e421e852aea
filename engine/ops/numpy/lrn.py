"""Local response normalisation on numpy: the reference."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import LrnGeometry, PoolingGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp
from caffepy.engine.ops.numpy.planes import CHUNK_BYTES, PlaneWindows


class Lrn(ScratchOp):
    """y = x s^-beta, s = k + alpha / n * sum of x^2 over the n elements around each: `size`
    channels, or a window of size x size pixels in the same plane. Beyond the edges there are zeros.

    x, y: geometry.shape.
    """

    def __init__(self, ops: Ops, geometry: LrnGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        size = geometry.size
        self._weight = ops.dtype.type(
            geometry.alpha / size ** (2 if geometry.within_channel else 1)
        )
        pad_h, pad_w = (  # half a window, as far as there may be pixels
            min(size // 2, max(0, pixels - 1)) for pixels in geometry.shape[2:]
        )
        window = 2 * pad_h + 1, 2 * pad_w + 1
        self._windows = PlaneWindows(
            PoolingGeometry(geometry.shape, "AVE", window, (1, 1), (pad_h, pad_w))
        )

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: y."""
        source, target = x.read(), out.write()
        for chunk in self._chunks():
            power = self._power(self._scale(source[chunk]))
            np.multiply(source[chunk], power, out=target[chunk])

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy s^-beta - 2 alpha beta / n * x * sum of dy y / s over the same
        elements."""
        gradient, source, target = dy.read(), x.read(), out.write()
        factor = self.ops.dtype.type(2 * self.geometry.beta) * self._weight
        for chunk in self._chunks():
            scale = self._scale(source[chunk])
            power = self._power(scale)
            power *= gradient[chunk]
            ratio = self.take("ratio", scale.shape)
            np.multiply(power, source[chunk], out=ratio)
            ratio /= scale
            total = self._sum(ratio)
            total *= source[chunk]
            total *= factor
            np.subtract(power, total, out=target[chunk])

    def _chunks(self) -> Iterator[slice]:
        """The samples, some at a time, so that what is made of them stays in the cache."""
        count, *rest = self.geometry.shape
        samples = max(1, CHUNK_BYTES // max(1, math.prod(rest) * self.ops.dtype.itemsize))
        for start in range(0, count, samples):
            yield slice(start, min(start + samples, count))

    def _scale(self, x: np.ndarray) -> np.ndarray:
        """s, in scratch."""
        squares = self.take("ratio", x.shape)
        np.multiply(x, x, out=squares)
        scale = self.take("scale", x.shape)
        np.multiply(self._sum(squares), self._weight, out=scale)
        scale += self.ops.dtype.type(self.geometry.k)
        return scale

    def _power(self, scale: np.ndarray) -> np.ndarray:
        """s^-beta, in scratch; for the usual 0.75 by square roots, which are several times
        faster."""
        power = self.take("power", scale.shape)
        if self.geometry.beta != 0.75:
            np.power(scale, self.ops.dtype.type(-self.geometry.beta), out=power)
            return power
        root = self.take("root", scale.shape)
        np.sqrt(scale, out=root)
        np.sqrt(root, out=power)
        power *= root
        np.reciprocal(power, out=power)
        return power

    def _sum(self, x: np.ndarray) -> np.ndarray:
        """The sum of the elements around each, in scratch."""
        total = self.take("total", x.shape)
        if self.geometry.within_channel:
            scratch, planes = self.ops.scratch, self._windows.planes
            padded = self._windows.padded(planes(x), 0, scratch)
            self._windows.fold(np.add, padded, planes(total), scratch)
            return total
        np.copyto(total, x)
        channels = x.shape[1]
        for distance in range(1, min((self.geometry.size + 1) // 2, channels)):
            total[:, distance:] += x[:, : channels - distance]
            total[:, : channels - distance] += x[:, distance:]
        return total
