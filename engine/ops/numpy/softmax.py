"""Softmax on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry, Shape
from caffepy.engine.ops.numpy.arrays import HostOps, ScratchOp, source_and_target


def softmax(x: np.ndarray, out: np.ndarray, op: ScratchOp) -> None:
    """exp(x) / sum(exp(x)) along axis 1 of (outer, size, inner); the largest x is taken off
    first.  op: whose scratch is used."""
    np.subtract(x, _spread(x.max(axis=1, keepdims=True, initial=-np.inf), x.shape, op), out=out)
    np.exp(out, out=out)
    out /= _spread(out.sum(axis=1, keepdims=True), x.shape, op)


def _spread(rows: np.ndarray, shape: Shape, op: ScratchOp) -> np.ndarray:
    """(outer, 1, inner) as an operand beside an array of `shape`: in scratch of that shape where
    rows are so short that a ufunc would fetch memory for the same."""
    if shape[2] >= np.getbufsize():
        return rows
    spread = op.take("softmax", shape)
    np.copyto(spread, rows)
    return spread


class Softmax(ScratchOp):
    """y = exp(x) / sum(exp(x)), the sum along one axis."""

    def __init__(self, ops: HostOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """x, out: geometry.shape elements; out may be x."""
        source, target = source_and_target(x, out)
        shape = self.geometry.shape
        softmax(source.reshape(shape), target.reshape(shape), self)

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
