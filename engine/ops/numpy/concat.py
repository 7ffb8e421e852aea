"""Joining values along an axis, and taking them apart, on numpy: the reference."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import ConcatGeometry


class Concat(Op):
    """The parts of a ConcatGeometry side by side, and the way back: each is the other's
    gradient."""

    def __init__(self, ops: Ops, geometry: ConcatGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry

    @step(reads="parts", writes="out")
    def join(self, parts: Sequence[Value], *, out: Value) -> None:
        """parts: of geometry.shapes.  out: geometry.out_shape."""
        np.concatenate([part.read() for part in parts], axis=self.geometry.axis, out=out.write())

    @step(reads="whole", writes="parts")
    def split(self, whole: Value, *, parts: Sequence[Value | None]) -> None:
        """whole: geometry.out_shape.  parts: of geometry.shapes; None where one is not wanted."""
        axis = self.geometry.axis
        ends = itertools.accumulate(shape[axis] for shape in self.geometry.shapes)
        pieces = np.split(whole.read(), list(ends)[:-1], axis=axis)
        for part, piece in zip(parts, pieces, strict=True):
            if part is not None:
                np.copyto(part.write(), piece)
