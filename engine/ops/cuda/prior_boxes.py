"""Boxes around the cells of a feature map, on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.geometry import PriorBoxGeometry
from caffepy.engine.ops.numpy.prior_boxes import table


class CudaPriorBoxes(Op):
    """For each cell, row by row, xmin, ymin, xmax and ymax of each box, divided by the image's
    size; then the variances of all. The host computes them once."""

    ops: DeviceOps

    def __init__(self, ops: DeviceOps, geometry: PriorBoxGeometry) -> None:
        super().__init__(ops)
        self._table = Value(geometry.out_shape, ops.dtype)
        self._table.write()[...] = table(geometry)

    @step(writes="out")
    def forward(self, *, out: Value) -> None:
        """out: geometry.out_shape elements."""
        layout = self.ops.layout
        self.ops.runtime.copy(self._table.read(layout), out.write(layout))
