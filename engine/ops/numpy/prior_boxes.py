"""Boxes around the cells of a feature map, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import PriorBoxGeometry


class PriorBoxes(Op):
    """For each cell, row by row, xmin, ymin, xmax and ymax of each box, divided by the image's
    size, in float32 where Caffe's fork has float; then the variances of all."""

    def __init__(self, ops: Ops, geometry: PriorBoxGeometry) -> None:
        super().__init__(ops)
        self._table = table(geometry).astype(ops.dtype)

    @step(writes="out")
    def forward(self, *, out: Value) -> None:
        """out: geometry.out_shape elements."""
        np.copyto(out.write().reshape(self._table.shape), self._table)


def table(geometry: PriorBoxGeometry) -> np.ndarray:
    """geometry.out_shape"""
    height, width = geometry.map_size
    corners = np.empty((height, width, len(geometry.boxes), 2, 2))  # (..., least and most, x and y)
    sizes = np.array(geometry.boxes, np.float32)
    for axis in (0, 1):  # rows, columns
        cells = np.arange(geometry.map_size[axis], dtype=np.float32)
        middles = (cells + np.float32(geometry.offset)) * np.float32(geometry.step[axis])
        middles = middles.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1)).astype(np.float64)
        reach = sizes[:, axis].astype(np.float64) / 2
        corners[..., 0, 1 - axis] = (middles - reach) / geometry.image_size[axis]
        corners[..., 1, 1 - axis] = (middles + reach) / geometry.image_size[axis]
    if geometry.clip:
        np.clip(corners, 0, 1, out=corners)
    found = np.empty(geometry.out_shape)
    found[0, 0] = corners.reshape(-1)
    found[0, 1].reshape(-1, 4)[...] = geometry.variances
    return found
