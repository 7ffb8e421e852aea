"""Softmax on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import source_and_target


def softmax(x: np.ndarray, out: np.ndarray) -> None:
    """exp(x) / sum(exp(x)) along axis 1 of (outer, size, inner); the largest x is taken off
    first."""
    np.subtract(x, x.max(axis=1, keepdims=True, initial=-np.inf), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=1, keepdims=True)


class Softmax(Op):
    """y = exp(x) / sum(exp(x)), the sum along one axis."""

    def __init__(self, ops: Ops, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """x, out: geometry.shape elements; out may be x."""
        source, target = source_and_target(x, out)
        softmax(source.reshape(self.geometry.shape), target.reshape(self.geometry.shape))

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, (dy - sum(dy y)) y; may be dy."""
        gradient, target = (
            array.reshape(self.geometry.shape) for array in source_and_target(dy, out)
        )
        outputs = y.read().reshape(self.geometry.shape)
        inner = np.einsum("ojl,ojl->ol", gradient, outputs)
        np.subtract(gradient, inner[:, None], out=target)
        target *= outputs
