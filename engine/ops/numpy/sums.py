"""Sums, copies and fills of whole values on numpy: the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops


class Sum(Op):
    """Adds values of one shape; with one of them, a copy."""

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """out: the sum, in the order given; may be one of xs only if it is the first."""
        total = out.write() if out is not xs[0] else out.modify()
        if out is not xs[0]:
            np.copyto(total, xs[0].read())
        for x in xs[1:]:
            total += x.read()


class Fill(Op):
    """Writes one number everywhere."""

    def __init__(self, ops: Ops, constant: float) -> None:
        super().__init__(ops)
        self.constant = constant

    @step(writes="out")
    def forward(self, *, out: Value) -> None:
        """out: `constant` everywhere."""
        out.write()[...] = self.constant


class WeightedSum(Op):
    """The loss of a net: for each value the sum of its elements times a weight, all added up."""

    def __init__(self, ops: Ops, weights: Sequence[float]) -> None:
        super().__init__(ops)
        self.weights = tuple(weights)

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """out: a scalar."""
        total = self.ops.dtype.type(0)
        for x, weight in zip(xs, self.weights, strict=True):
            total += self.ops.dtype.type(weight) * x.read().sum(dtype=self.ops.dtype)
        out.write()[...] = total
