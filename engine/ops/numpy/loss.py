"""Losses of real numbers on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops


class EuclideanLoss(Op):
    """sum((a - b)^2) / (2 N); 0 for no samples."""

    def __init__(self, ops: Ops, samples: int) -> None:
        """samples: N."""
        super().__init__(ops)
        self.samples = samples

    @step(reads="a b", writes="out")
    def forward(self, a: Value, b: Value, *, out: Value) -> None:
        """a, b: of as many elements.  out: the loss, a scalar."""
        difference = a.read().reshape(-1) - b.read().reshape(-1)
        out.write()[...] = np.dot(difference, difference) / (2 * self.samples or 1)

    @step(reads="a b dloss", writes="out_a out_b")
    def backward(
        self,
        a: Value,
        b: Value,
        dloss: Value,
        *,
        out_a: Value | None = None,
        out_b: Value | None = None,
    ) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out_a, out_b: gradients of a and
        b, (a - b) / N and its negative, weighted."""
        difference = a.read().reshape(-1) - b.read().reshape(-1)
        weight = dloss.read() / (self.samples or 1)
        for out, sign in ((out_a, 1), (out_b, -1)):
            if out is not None:
                np.multiply(difference, sign * weight, out=out.write().reshape(-1))
