"""Repeating values, and cutting pieces out of them, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry


class Tile(Op):
    """(outer, inner) elements, repeated `size` times: (outer, size, inner)."""

    def __init__(self, ops: Ops, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: (outer, size, inner) elements."""
        outer, _, inner = self.geometry.shape
        out.write().reshape(self.geometry.shape)[...] = x.read().reshape(outer, 1, inner)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, the sum over the copies."""
        outer, _, inner = self.geometry.shape
        gradient = dy.read().reshape(self.geometry.shape)
        np.sum(gradient, axis=1, out=out.write().reshape(outer, inner))


class Crop(Op):
    """The piece of x of shape `shape` that begins at `start`; one number per axis in both."""

    def __init__(self, ops: Ops, start: Shape, shape: Shape) -> None:
        super().__init__(ops)
        self._piece = tuple(slice(a, a + size) for a, size in zip(start, shape, strict=True))

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: the piece."""
        np.copyto(out.write(), x.read()[self._piece])

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, dy in the piece and 0 around it."""
        target = out.write()
        target.fill(0)
        target[self._piece] = dy.read()
