"""Adding a value along some axes of another on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import source_and_target
from caffepy.engine.ops.numpy.totals import channel_sums


class Bias(Op):
    """y = x + b, with x seen as (outer, size, inner) and b of `size` elements."""

    def __init__(self, ops: Ops, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry

    @step(reads="x b", writes="out")
    def forward(self, x: Value, b: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        shape = self.geometry.shape
        source, target = source_and_target(x, out)
        np.add(source.reshape(shape), b.read().reshape(-1, 1), out=target.reshape(shape))

    @step(reads="dy", writes="out", adds="add_b")
    def backward_bias(
        self, dy: Value, *, out: Value | None = None, add_b: Value | None = None
    ) -> None:
        """out: gradient of b.  add_b: the same is added to it."""
        gradient = channel_sums(dy.read().reshape(self.geometry.shape))
        if out is not None:
            out.write().reshape(-1)[:] = gradient
        if add_b is not None:
            add_b.modify().reshape(-1)[:] += gradient
