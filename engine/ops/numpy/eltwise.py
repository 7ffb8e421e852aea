"""Combining values of one shape element by element on numpy: the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops


class EltwiseSum(Op):
    """c0 x0 + c1 x1 + ..."""

    def __init__(self, ops: Ops, coefficients: Sequence[float]) -> None:
        """coefficients: one per input."""
        super().__init__(ops)
        self.coefficients = tuple(ops.dtype.type(number) for number in coefficients)

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """xs, out: of one shape; out is none of xs."""
        total = out.write()
        np.multiply(xs[0].read(), self.coefficients[0], out=total)
        for x, coefficient in zip(xs[1:], self.coefficients[1:], strict=True):
            total += x.read() if coefficient == 1 else coefficient * x.read()

    @step(reads="dy", writes="outs")
    def backward(self, dy: Value, *, outs: Sequence[Value | None]) -> None:
        """outs: gradients of xs; None where one is not wanted."""
        gradient = dy.read()
        for out, coefficient in zip(outs, self.coefficients, strict=True):
            if out is not None:
                np.multiply(gradient, coefficient, out=out.write())


class EltwiseProduct(Op):
    """x0 x1 x2 ...

    stable: gradients multiply the other inputs; otherwise they divide the product by the input,
    which is nan where that is 0.
    """

    def __init__(self, ops: Ops, stable: bool = True) -> None:
        super().__init__(ops)
        self.stable = stable

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """xs, out: of one shape; out is none of xs."""
        product = out.write()
        np.copyto(product, xs[0].read())
        for x in xs[1:]:
            product *= x.read()

    @step(reads="dy xs y", writes="outs")
    def backward(
        self, dy: Value, xs: Sequence[Value], y: Value, *, outs: Sequence[Value | None]
    ) -> None:
        """y: the product.  outs: gradients of xs; None where one is not wanted."""
        gradient = dy.read()
        for place, out in enumerate(outs):
            if out is None:
                continue
            target = out.write()
            if self.stable:
                np.copyto(target, gradient)
                for other in (*xs[:place], *xs[place + 1 :]):
                    target *= other.read()
            else:
                np.divide(y.read(), xs[place].read(), out=target)
                target *= gradient


class EltwiseMax(Op):
    """max(x0, x1, x2, ...). The gradient goes to one input: of equal first two the second, of later
    ones only one that is larger than all before it, as in Caffe."""

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """xs, out: of one shape; out is none of xs."""
        largest = out.write()
        first, second = xs[0].read(), xs[1].read()
        np.maximum(first, second, out=largest)
        if not np.isnan(largest.min(initial=np.inf)):
            for x in xs[2:]:
                np.fmax(largest, x.read(), out=largest)
            return
        np.copyto(largest, np.where(first > second, first, second))  # of nan and a number either
        for x in xs[2:]:
            np.copyto(largest, x.read(), where=x.read() > largest)

    @step(reads="dy xs", writes="outs")
    def backward(self, dy: Value, xs: Sequence[Value], *, outs: Sequence[Value | None]) -> None:
        """outs: gradients of xs; None where one is not wanted."""
        winner = self._winner([x.read() for x in xs])
        for place, out in enumerate(outs):
            if out is not None:
                np.multiply(dy.read(), winner == place, out=out.write())

    @staticmethod
    def _winner(xs: Sequence[np.ndarray]) -> np.ndarray:
        """The index of the input that is the maximum, per element."""
        winner = np.array(~(xs[0] > xs[1]), np.min_scalar_type(len(xs)))
        if len(xs) == 2:
            return winner
        largest = np.where(winner == 0, xs[0], xs[1])
        for place, x in enumerate(xs[2:], start=2):
            larger = x > largest
            winner[larger] = place
            np.copyto(largest, x, where=larger)
        return winner
