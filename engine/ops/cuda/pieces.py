"""Repeating values, and cutting pieces out of them, on a GPU."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.reduction import AxisSums
from caffepy.engine.ops.geometry import AxisGeometry


class CudaTile(CudaOp):
    """(outer, inner) elements, repeated `size` times: (outer, size, inner)."""

    family = "movement"

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._sums = AxisSums(ops, geometry)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: (outer, size, inner) elements."""
        size, inner = self.geometry.size, self.geometry.inner
        self.launch("tile", out.count, size * inner, inner, x, out)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, the sum over the copies."""
        self._sums.launch(dy, out)


class CudaCrop(CudaOp):
    """The piece of x of shape `shape` that begins at `start`; one number per axis in both."""

    family = "movement"

    def __init__(self, ops: DeviceOps, start: Shape, shape: Shape) -> None:
        super().__init__(ops)
        self.start, self.shape = start, shape
        self._axes: tuple[Shape, Value] | None = None  # of x of this shape, see _axes_of

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: the piece."""
        axes = self._axes_of(x)
        self.launch("crop", out.count, axes.shape[1], axes, x, out)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, dy in the piece and 0 around it."""
        axes = self._axes_of(out)
        self.launch("crop_backward", out.count, axes.shape[1], axes, dy, out)

    def _axes_of(self, x: Value) -> Value:
        """(3, axes) int64: the sizes of x, the starts and the sizes of the piece. Axes that are
        whole in it are one with the axis before them."""
        if self._axes is None or self._axes[0] != x.shape:
            joined: list[Shape] = [(1, 0, 1)]
            for size, start, piece in zip(x.shape, self.start, self.shape, strict=True):
                if piece == size:
                    joined[-1] = tuple(number * size for number in joined[-1])
                else:
                    joined.append((size, start, piece))
            value = Value((3, len(joined)), np.int64)
            value.write()[...] = np.array(joined).T
            self._axes = x.shape, value
        return self._axes[1]
