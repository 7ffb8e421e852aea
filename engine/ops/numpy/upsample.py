"""Planes made larger, by copies of pixels or by where pixels were, on numpy: the reference."""

from __future__ import annotations

import math

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp
from caffepy.engine.ops.numpy.labels import LabelReader


class Upsample(ScratchOp):
    """Each pixel of x becomes a square of scale x scale pixels.

    shape: of x, its last two axes the rows and columns of planes.
    """

    def __init__(self, ops: Ops, shape: Shape, scale: int) -> None:
        super().__init__(ops)
        self.shape = shape
        self.scale = scale

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: scale times as many rows and columns."""
        wide, pixels = self._wide()
        source = x.read().reshape(pixels.shape[:-1])
        for right in range(self.scale):
            pixels[..., right] = source
        self._rows(out.write())[...] = wide[:, None]

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, the sum over each square: of its columns first."""
        wide, pixels = self._wide()
        rows, target = self._rows(dy.read()), out.write().reshape(pixels.shape[:-1])
        np.copyto(wide, rows[:, 0])
        for down in range(1, self.scale):
            wide += rows[:, down]
        np.copyto(target, pixels[..., 0])
        for right in range(1, self.scale):
            target += pixels[..., right]

    def _wide(self) -> tuple[np.ndarray, np.ndarray]:
        """(planes * H, W * scale) the rows of x in their new width, and the same memory as
        (planes * H, W, scale)."""
        *rows, width = self.shape
        count = math.prod(rows)
        wide = self.take("wide", (count, width * self.scale))
        return wide, wide.reshape(count, width, self.scale)

    def _rows(self, array: np.ndarray) -> np.ndarray:
        """(planes * H, scale, W * scale)"""
        *rows, width = self.shape
        return array.reshape(math.prod(rows), self.scale, width * self.scale)


class Unpool(Op):
    """Puts each pixel of a plane where the mask says, as row * width + column of the larger plane,
    cut to an integer; 0 where it puts none. The last one of those that meet stays.

    x, mask: (planes, size) elements.  y: (planes, out_size) elements.
    """

    def __init__(self, ops: Ops, planes: int, size: int, out_size: int, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self._starts = np.repeat(np.arange(planes) * out_size, size)
        remedy = "Make the top as large as the bottom of the Pooling layer that made the mask."
        geometry = AxisGeometry(1, out_size, planes * size)
        self._reader = LabelReader(geometry, None, where, "index", remedy)

    @step(reads="x mask", writes="out")
    def forward(self, x: Value, mask: Value, *, out: Value) -> None:
        """out: y. Raises: LabelError where the mask points beyond its plane."""
        places = self._places(mask)
        target = out.write().reshape(-1)
        target.fill(0)
        target[places] = x.read().reshape(-1)

    @step(reads="dy mask", writes="out")
    def backward(self, dy: Value, mask: Value, *, out: Value) -> None:
        """out: gradient of x, that of the place it went to, also where another stayed there."""
        places, gradient = self._places(mask), out.write().reshape(-1)
        np.take(dy.read().reshape(-1), places, out=gradient, mode="clip")  # all are in it

    def _places(self, mask: Value) -> np.ndarray:
        """(planes * size,) where in y each pixel goes."""
        places: np.ndarray = self._reader.read(mask)[0][0] + self._starts
        return places
