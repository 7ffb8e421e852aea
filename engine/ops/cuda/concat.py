"""Joining values along an axis, and taking them apart, on a GPU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.geometry import ConcatGeometry


class CudaConcat(CudaOp):
    """The parts of a ConcatGeometry side by side, and the way back: each is the other's
    gradient."""

    family = "movement"

    def __init__(self, ops: DeviceOps, geometry: ConcatGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        # elements of one row of each part, of the axes from geometry.axis on
        self._widths = [math.prod(shape[geometry.axis :]) for shape in geometry.shapes]
        self._starts = [0, *itertools.accumulate(self._widths)]  # in a row of the whole

    @step(reads="parts", writes="out")
    def join(self, parts: Sequence[Value], *, out: Value) -> None:
        """parts: of geometry.shapes.  out: geometry.out_shape."""
        out.write(self.ops.layout)  # each launch keeps what the others wrote
        row = self._starts[-1]
        for part, width, start in zip(parts, self._widths, self._starts, strict=False):
            self.launch("copy_columns", part.count, width, width, 0, row, start, part, out)

    @step(reads="whole", writes="parts")
    def split(self, whole: Value, *, parts: Sequence[Value | None]) -> None:
        """whole: geometry.out_shape.  parts: of geometry.shapes; None where one is not wanted."""
        row = self._starts[-1]
        for part, width, start in zip(parts, self._widths, self._starts, strict=False):
            if part is not None:
                part.write(self.ops.layout)
                self.launch("copy_columns", part.count, width, row, start, width, 0, whole, part)
