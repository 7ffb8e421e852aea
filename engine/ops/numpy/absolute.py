"""The absolute value on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op


class Absolute(Op):
    """|x|; the gradient at 0 is 0."""

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x, not x."""
        np.abs(x.read(), out=out.write())

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, not dy."""
        target = out.write()
        np.sign(x.read(), out=target)
        target *= dy.read()
