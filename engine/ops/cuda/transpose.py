"""The axes of values in another order, on a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.geometry import TransposeGeometry

TILE = 32  # as in transpose.cu
SHORT = 8  # of an axis for which tiles would be mostly empty


class CudaTranspose(CudaOp):
    """x with its axes in another order; x may have any shape of as many elements as geometry's."""

    family = "transpose"

    def __init__(self, ops: DeviceOps, geometry: TransposeGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._forward, self._backward = (_Way(self, way) for way in (geometry, geometry.inverse))

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: geometry.out_shape elements."""
        self._forward.launch(x, out)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x."""
        self._backward.launch(dy, out)


class _Way:
    """One direction: a kernel and the sizes that it takes."""

    def __init__(self, op: CudaOp, geometry: TransposeGeometry) -> None:
        self._op = op
        joined = geometry.joined
        order, sizes = joined.order, joined.out_shape
        ends = [math.prod(joined.shape[axis + 1 :]) for axis in range(len(order))]
        steps = [ends[axis] for axis in order]  # in x, of the result's axes
        self._tiled = len(order) > 1 and steps[-1] != 1
        if self._tiled:
            across = steps.index(1)  # the axis that is innermost in x
            self._tiled = min(sizes[-1], sizes[across]) >= SHORT
        if self._tiled:
            self._plan_tiles(sizes, steps, across)
        else:
            self._axes = _table(sizes, steps)

    def launch(self, x: Value, out: Value) -> None:
        """Overwrites out."""
        if self._tiled:
            self._op.launch_rows("transpose_tiles", self._tiles, *self._numbers, self._axes, x, out)
        else:
            self._op.launch("transpose", out.count, self._axes.shape[1], self._axes, x, out)

    def _plan_tiles(self, sizes: Sequence[int], steps: Sequence[int], across: int) -> None:
        outs = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
        others = [axis for axis in range(len(sizes) - 1) if axis != across]
        rows, columns = sizes[-1], sizes[across]
        tiles = math.ceil(rows / TILE), math.ceil(columns / TILE)
        self._tiles = math.prod(sizes[axis] for axis in others) * math.prod(tiles)
        self._numbers = rows, columns, steps[-1], outs[across], *tiles, len(others)
        picked = ([numbers[axis] for axis in others] for numbers in (sizes, steps, outs))
        self._axes = _table(*picked)


def _table(*rows: Sequence[int]) -> Value:
    """(rows, axes) int64; at least one axis, so that there is memory."""
    value = Value((len(rows), max(1, len(rows[0]))), np.int64)
    value.write()[:, : len(rows[0])] = rows
    return value
