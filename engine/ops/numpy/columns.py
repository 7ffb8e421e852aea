"""Windows of images as a blob of their own on numpy: the reference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.arrays import HostOps, ScratchOp
from caffepy.engine.ops.numpy.im2col import Windows


class Im2col(ScratchOp):
    """y[n, (c, place), out] = the pixel of x[n, c] at that place of each window; 0 in padding.

    x: geometry.shape elements.  y: (N, C * kernel, *out) elements.
    """

    def __init__(self, ops: HostOps, geometry: ConvolutionGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._windows = Windows(geometry, ops.dtype.itemsize)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: y."""
        source, target = x.read().reshape(self.geometry.shape), self._columns(out.write())
        for chunk, padded, columns in self._chunks():
            self._windows.gather(source[chunk], padded=padded, columns=columns)
            target[chunk] = self._by_sample(columns, target[chunk].shape)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x: over all windows that hold a pixel, the sum of their gradients."""
        gradient, target = self._columns(dy.read()), out.write().reshape(self.geometry.shape)
        for chunk, padded, columns in self._chunks():
            self._by_sample(columns, gradient[chunk].shape)[...] = gradient[chunk]
            self._windows.scatter(columns, padded=padded, out=target[chunk])

    def _chunks(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Samples, as many at a time as fit into scratch, and the scratch for them."""
        for chunk in self._windows.chunks():
            samples = chunk.stop - chunk.start
            yield (
                chunk,
                self.take("padded", self._windows.padded_shape(samples)),
                self.take("columns", self._windows.columns_shape(samples)),
            )

    def _columns(self, y: np.ndarray) -> np.ndarray:
        """(N, C * kernel, out)"""
        _, rows, _ = self._windows.columns_shape(1)
        columns: np.ndarray = y.reshape(self.geometry.shape[0], rows, self._windows.places)
        return columns

    @staticmethod
    def _by_sample(columns: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A view of columns, (1, C * kernel, out * samples), in shape (samples, C * kernel, out)"""
        samples, rows, places = shape
        by_sample: np.ndarray = columns.reshape(rows, places, samples).transpose(2, 0, 1)
        return by_sample
