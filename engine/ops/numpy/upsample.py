"""Planes made larger, by copies of pixels or by where pixels were, on numpy: the reference."""

from __future__ import annotations

import itertools
import math

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp
from caffepy.engine.ops.numpy.labels import LabelReader


class Upsample(Op):
    """Each pixel of x becomes a square of scale x scale pixels.

    shape: of x, its last two axes the rows and columns of planes.
    """

    def __init__(self, ops: Ops, shape: Shape, scale: int) -> None:
        super().__init__(ops)
        self._planes = math.prod(shape[:-2]), *shape[-2:]
        self.scale = scale

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: scale times as many rows and columns."""
        source, squares = x.read().reshape(self._planes), self._squares(out.write())
        for down, right in itertools.product(range(self.scale), repeat=2):
            squares[:, :, down, :, right] = source

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, the sum over each square."""
        target, squares = out.write().reshape(self._planes), self._squares(dy.read())
        np.copyto(target, squares[:, :, 0, :, 0])
        for down, right in itertools.islice(
            itertools.product(range(self.scale), repeat=2), 1, None
        ):
            target += squares[:, :, down, :, right]

    def _squares(self, array: np.ndarray) -> np.ndarray:
        """(planes, H, scale, W, scale)"""
        planes, height, width = self._planes
        return array.reshape(planes, height, self.scale, width, self.scale)


class Unpool(ScratchOp):
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
        """out: gradient of x: that of the place it went to, 0 where another took it."""
        places = self._places(mask)
        owners = self.take("owners", (dy.count,), np.int64)
        each = np.arange(len(places))
        owners[places] = each
        gradient = dy.read().reshape(-1)[places]
        gradient[owners[places] != each] = 0
        out.write().reshape(-1)[:] = gradient

    def _places(self, mask: Value) -> np.ndarray:
        """(planes * size,) where in y each pixel goes."""
        places: np.ndarray = self._reader.read(mask)[0][0] + self._starts
        return places
