"""The axes of values in another order, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import TransposeGeometry


class Transpose(Op):
    """x with its axes in another order; x may have any shape of as many elements as geometry's."""

    def __init__(self, ops: Ops, geometry: TransposeGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: geometry.out_shape elements."""
        _transpose(self.geometry, x, out)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x."""
        _transpose(self.geometry.inverse, dy, out)


def _transpose(geometry: TransposeGeometry, x: Value, out: Value) -> None:
    source = x.read().reshape(geometry.shape)
    np.copyto(out.write().reshape(geometry.out_shape), source.transpose(geometry.order))
