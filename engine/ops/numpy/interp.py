"""Planes in another size, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import InterpGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp

_MOST = 1 << 22  # elements of a matrix


class Interp(ScratchOp):
    """Bilinear interpolation: each pixel of the result lies between four of x, and is the sum of
    these by how near they are.

    By products with matrices of two numbers a row; where these would be large, or there are inf or
    nan, which would spread along rows and columns, by the pixels one after the other.
    """

    def __init__(self, ops: Ops, geometry: InterpGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._axes = [_Axis(geometry, axis, ops.dtype) for axis in (0, 1)]
        self._by_products = all(axis.matrix.size for axis in self._axes)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """x: (planes, *size) elements.  out: (planes, *out) elements."""
        planes, (height, width), (_, out_w) = self._sizes()
        source = x.read().reshape(planes, height, width)
        target = out.write().reshape(planes, *self.geometry.out)
        rows = self.take("interp", (planes, height, out_w))
        by_row, by_column = self._axes
        if self._by_products and np.isfinite(source.sum()):
            np.matmul(source, by_column.matrix.T, out=rows)
            np.matmul(by_row.matrix, rows, out=target)
        else:
            np.copyto(target, by_row.between(by_column.between(source, 2), 1))

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x; 0 for the pixels that do not count."""
        planes, (height, width), (_, out_w) = self._sizes()
        gradient = dy.read().reshape(planes, *self.geometry.out)
        target = out.write().reshape(planes, height, width)
        rows = self.take("interp", (planes, height, out_w))
        by_row, by_column = self._axes
        if self._by_products and np.isfinite(gradient.sum()):
            np.matmul(by_row.matrix.T, gradient, out=rows)
            np.matmul(rows, by_column.matrix, out=target)
        else:
            rows.fill(0)
            by_row.add(gradient, rows, 1)
            target.fill(0)
            by_column.add(rows, target, 2)

    def _sizes(self) -> tuple[int, tuple[int, int], tuple[int, int]]:
        return self.geometry.planes, self.geometry.size, self.geometry.out


class _Axis:
    """Where the pixels of the result lie along one axis of x.

    matrix: (out, size) their shares of the pixels of x; empty where it would be large.
    """

    def __init__(self, geometry: InterpGeometry, axis: int, dtype: np.dtype) -> None:
        out, start = geometry.out[axis], geometry.start[axis]
        found = np.array([geometry.position(axis, place) for place in range(out)], np.int64)
        before, after, rest = found.reshape(-1, 3).T
        self._before, self._after = before + start, after + start
        share = rest / max(1, out - 1)
        self._near, self._far = (1 - share).astype(dtype), share.astype(dtype)
        if out * geometry.size[axis] > _MOST:
            self.matrix = np.zeros((0, 0), dtype)
            return
        self.matrix = np.zeros((out, geometry.size[axis]), dtype)
        places = np.arange(out)
        self.matrix[places, self._before] += self._near
        self.matrix[places, self._after] += self._far

    def between(self, x: np.ndarray, axis: int) -> np.ndarray:
        """The pixels of the result along an axis of x."""
        shape = (-1, 1) if axis == 1 else (-1,)
        near, far = self._near.reshape(shape), self._far.reshape(shape)
        found: np.ndarray = x.take(self._before, axis) * near + x.take(self._after, axis) * far
        return found

    def add(self, dy: np.ndarray, add_x: np.ndarray, axis: int) -> None:
        """Adds the gradient of x, given that of the result along one of its axes."""
        moved, target = (np.moveaxis(array, axis, 0) for array in (dy, add_x))
        for place, gradient in enumerate(moved):
            target[self._before[place]] += self._near[place] * gradient
            target[self._after[place]] += self._far[place] * gradient
