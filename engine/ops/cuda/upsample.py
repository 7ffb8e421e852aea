"""Planes made larger, by copies of pixels or by where pixels were, on a GPU."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.labels import DeviceLabels
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry


class CudaUpsample(CudaOp):
    """Each pixel of x becomes a square of scale x scale pixels.

    shape: of x, its last two axes the rows and columns of planes.
    """

    family = "upsample"

    def __init__(self, ops: DeviceOps, shape: Shape, scale: int) -> None:
        super().__init__(ops)
        self._width, self._scale = shape[-1], scale

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: scale times as many rows and columns."""
        self.launch("upsample", out.count, self._width, self._scale, x, out)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, the sum over each square."""
        self.launch("upsample_backward", out.count, self._width, self._scale, dy, out)


class CudaUnpool(CudaOp):
    """Puts each pixel of a plane where the mask says, as row * width + column of the larger plane,
    cut to an integer; 0 where it puts none. The last one of those that meet stays.

    x, mask: (planes, size) elements.  y: (planes, out_size) elements. Which pixel stays is found by
    an atomic maximum of whole numbers, which is the same in any order.
    """

    family = "upsample"

    def __init__(self, ops: DeviceOps, planes: int, size: int, out_size: int, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self._sizes = size, out_size
        self._owners = self.scratch(planes * out_size, np.uint32)  # see upsample.cu
        remedy = "Make the top as large as the bottom of the Pooling layer that made the mask."
        geometry = AxisGeometry(1, out_size, planes * size)
        self._places = DeviceLabels(ops, geometry, None, where, "index", remedy)

    @step(reads="x mask", writes="out")
    def forward(self, x: Value, mask: Value, *, out: Value) -> None:
        """out: y. Raises: LabelError where the mask points beyond its plane."""
        self.ops.runtime.clear(self._owners.write(self.ops.layout))
        given = *self._sizes, *self._places.check(mask)
        self.launch("unpool_owners", mask.count, *given, self._owners)
        self.launch("unpool", out.count, self._owners, x, out)

    @step(reads="dy mask", writes="out")
    def backward(self, dy: Value, mask: Value, *, out: Value) -> None:
        """out: gradient of x, that of the place it went to, also where another stayed there."""
        given = *self._sizes, *self._places.check(mask)
        self.launch("unpool_backward", out.count, *given, dy, out)
