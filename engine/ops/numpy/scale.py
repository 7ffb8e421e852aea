"""Multiplying by a value along some axes of another on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import Kept, source_and_target
from caffepy.engine.ops.numpy.totals import channel_sums


class Scale(Op):
    """y = x s + b, with x seen as (outer, size, inner), s and b of `size` elements; b may be
    None."""

    def __init__(self, ops: Ops, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._kept = Kept()

    @step(reads="x s b", writes="out")
    def forward(self, x: Value, s: Value, b: Value | None, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        source, target = (self._seen(array) for array in source_and_target(x, out))
        np.multiply(source, s.read().reshape(-1, 1), out=target)
        if b is not None:
            target += b.read().reshape(-1, 1)

    @step(reads="dy s", writes="out")
    def backward_data(self, dy: Value, s: Value, *, out: Value) -> None:
        """out: gradient of x; may be dy."""
        source, target = (self._seen(array) for array in source_and_target(dy, out))
        np.multiply(source, s.read().reshape(-1, 1), out=target)

    @step(reads="dy x", writes="out_s", adds="add_s add_b")
    def backward_params(
        self,
        dy: Value,
        x: Value,
        *,
        out_s: Value | None = None,
        add_s: Value | None = None,
        add_b: Value | None = None,
    ) -> None:
        """out_s: gradient of s.  add_s, add_b: the gradients of s and b are added to them. x may be
        what forward wrote over it."""
        gradient = self._seen(dy.read())
        if add_b is not None:
            add_b.modify().reshape(-1)[:] += channel_sums(gradient)
        if out_s is None and add_s is None:
            return
        total = channel_sums(gradient, self._seen(self._kept.read(x)))
        if out_s is not None:
            out_s.write().reshape(-1)[:] = total
        if add_s is not None:
            add_s.modify().reshape(-1)[:] += total

    def _seen(self, array: np.ndarray) -> np.ndarray:
        """(outer, size, inner)"""
        return array.reshape(self.geometry.shape)
