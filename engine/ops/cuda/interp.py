"""Planes in another size, on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.geometry import InterpGeometry


class CudaInterp(CudaOp):
    """Bilinear interpolation: each pixel of the result lies between four of x, and is the sum of
    these by how near they are."""

    family = "interp"

    def __init__(self, ops: DeviceOps, geometry: InterpGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._numbers = *geometry.size, *geometry.start, *geometry.read, *geometry.out

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """x: (planes, *size) elements.  out: (planes, *out) elements."""
        self.launch("interp", out.count, *self._numbers, x, out)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x; 0 for the pixels that do not count."""
        self.launch("interp_backward", out.count, *self._numbers, dy, out)
