"""Vectors divided by their length, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp, blocks, source_and_target
from caffepy.engine.ops.numpy.totals import row_sums


class UnitLength(ScratchOp):
    """y = x / length, along one axis: the root of sum(x^2) + eps, or sum(|x|) + eps where
    `absolute`.

    x, y: geometry.shape elements.  length: (outer, inner) elements.
    """

    def __init__(self, ops: Ops, geometry: AxisGeometry, eps: float, absolute: bool) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self.eps = ops.dtype.type(eps)
        self.absolute = absolute

    @step(reads="x", writes="out out_length")
    def forward(self, x: Value, *, out: Value, out_length: Value) -> None:
        """out: y.  out_length: the lengths."""
        source, target = x.read().reshape(self.geometry.shape), out.write()
        length = out_length.write().reshape(self.geometry.outer, 1, self.geometry.inner)
        if self.absolute:
            length[:, 0] = self._sums(np.abs(source, out=self.take("terms", source.shape)))
            length += self.eps
        else:
            length[:, 0] = self._sums(source, source)
            length += self.eps
            np.sqrt(length, out=length)
        np.divide(source, length, out=target.reshape(self.geometry.shape))

    @step(reads="dy y length d_length", writes="out")
    def backward(
        self, dy: Value, y: Value, length: Value, d_length: Value | None, *, out: Value
    ) -> None:
        """out: gradient of x, (dy - s sum(dy y)) / length + s d_length with s = y, or its sign
        where `absolute`; may be dy.  d_length: the gradient of the lengths, None where it is
        0."""
        shape = self.geometry.shape
        gradient, target = (array.reshape(shape) for array in source_and_target(dy, out))
        result = y.read().reshape(shape)
        lengths = length.read().reshape(shape[0], 1, shape[2])
        inner = self._sums(gradient, result)[:, None] / lengths
        if d_length is not None:
            inner -= d_length.read().reshape(lengths.shape)
        for samples, channels in blocks(shape):
            slope = result[samples, channels]
            terms = self.take("terms", slope.shape)
            if self.absolute:
                slope = np.sign(slope, out=terms)
            np.multiply(slope, inner[samples], out=terms)
            part = target[samples, channels]
            np.divide(gradient[samples, channels], lengths[samples], out=part)
            part -= terms

    def _sums(self, *factors: np.ndarray) -> np.ndarray:
        """(outer, inner) the sums of one array, or of the product of two, along the axis."""
        outer, size, inner = self.geometry.shape
        if inner == 1:
            return row_sums(*(factor.reshape(outer, size) for factor in factors))[:, None]
        sums: np.ndarray = np.einsum(f"{','.join(['ojl'] * len(factors))}->ol", *factors)
        return sums
