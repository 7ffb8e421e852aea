"""Combining values of one shape element by element on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda import residual
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.rectified import with_relu

TERMS = 4  # of a sum that one kernel takes


class EltwiseOp(CudaOp):
    """Base of ops on values of one shape."""

    family = "eltwise"

    def __init__(self, ops: DeviceOps) -> None:
        super().__init__(ops)
        self._spare: Value | None = None

    def add_up(
        self,
        coefficients: Sequence[float],
        xs: Sequence[Value],
        out: Value,
        slope: float = 1.0,
    ) -> None:
        """Overwrites `out`, which may be the first of xs, with c0 x0 + c1 x1 + ..., in this
        order. slope: of the ReLU behind; 1 where there is none."""
        while xs:
            factors, terms = coefficients[:TERMS], xs[:TERMS]
            last = slope if len(xs) <= TERMS else 1.0
            self.launch(f"sum_{len(terms)}", out.count, last, *factors, *terms, out)
            coefficients, xs = coefficients[TERMS:], xs[TERMS:]
            if xs:
                coefficients, xs = (1.0, *coefficients), (out, *xs)

    def pair(self, outs: Sequence[Value | None], count: int) -> tuple[Value, ...]:
        """Two outputs, with scratch for one that is not wanted."""
        if self._spare is None or self._spare.count != count:
            self._spare = self.scratch(count)
        return tuple(self._spare if out is None else out for out in outs)


class CudaEltwiseSum(EltwiseOp):
    """c0 x0 + c1 x1 + ..."""

    def __init__(self, ops: DeviceOps, coefficients: Sequence[float]) -> None:
        """coefficients: one per input."""
        super().__init__(ops)
        self.coefficients = tuple(coefficients)

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """xs, out: of one shape; out is none of xs."""
        self.rectified_forward(1.0, xs, out=out)

    def merged(self, step: Step, after: Step) -> Step | None:
        """ReLU in place."""
        return with_relu(self, step, after)

    def rearranged(self, before: Sequence[Step], step: Step) -> tuple[int, Sequence[Step]] | None:
        """Backward, with ReLU in place of the sum."""
        if step.method != "backward":
            return None
        return residual.spread_rearranged(self.ops, before, step)

    def rectified_forward(self, slope: float, xs: Sequence[Value], *, out: Value) -> None:
        """`forward` and ReLU."""
        self.add_up(self.coefficients, xs, out, slope)

    @step(reads="dy", writes="outs")
    def backward(self, dy: Value, *, outs: Sequence[Value | None]) -> None:
        """outs: gradients of xs; None where one is not wanted."""
        pairs = zip(self.coefficients, outs, strict=True)
        wanted = [(coefficient, out) for coefficient, out in pairs if out is not None]
        while len(wanted) > 1:
            (c0, out0), (c1, out1), *wanted = wanted
            self.launch("sum_gradients", dy.count, c0, c1, dy, out0, out1)
        for coefficient, out in wanted:
            self.launch("sum_1", dy.count, 1.0, coefficient, dy, out)


class CudaEltwiseProduct(EltwiseOp):
    """x0 x1 x2 ...

    stable: gradients multiply the other inputs; otherwise they divide the product by the input,
    which is nan where that is 0.
    """

    def __init__(self, ops: DeviceOps, stable: bool = True) -> None:
        super().__init__(ops)
        self.stable = stable

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """xs, out: of one shape; out is none of xs."""
        self._multiply(xs, out)

    @step(reads="dy xs y", writes="outs")
    def backward(
        self, dy: Value, xs: Sequence[Value], y: Value, *, outs: Sequence[Value | None]
    ) -> None:
        """y: the product.  outs: gradients of xs; None where one is not wanted."""
        if self.stable and len(xs) == 2:
            self.launch("product_gradients", dy.count, dy, *xs, *self.pair(outs, dy.count))
            return
        for place, out in enumerate(outs):
            if out is None:
                continue
            if self.stable:
                self._multiply((dy, *xs[:place], *xs[place + 1 :]), out)
            else:
                self.launch("quotient", dy.count, dy, y, xs[place], out)

    def _multiply(self, factors: Sequence[Value], out: Value) -> None:
        """Overwrites `out` with the product of two factors or more."""
        product, *others = factors
        for factor in others:
            self.launch("product", out.count, product, factor, out)
            product = out


class CudaEltwiseMax(EltwiseOp):
    """max(x0, x1, x2, ...). The gradient goes to one input: of equal first two the second, of later
    ones only one that is larger than all before it, as in Caffe."""

    def __init__(self, ops: DeviceOps) -> None:
        super().__init__(ops)
        self._largest = self.scratch(0)
        self._winner = self.scratch(0, np.int32)

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """xs, out: of one shape; out is none of xs."""
        first, largest, *others = xs
        self.launch("larger", out.count, first, largest, out)
        for x in others:
            self.launch("larger", out.count, x, out, out)

    @step(reads="dy xs", writes="outs")
    def backward(self, dy: Value, xs: Sequence[Value], *, outs: Sequence[Value | None]) -> None:
        """outs: gradients of xs; None where one is not wanted."""
        if len(xs) == 2:
            self.launch("larger_gradients", dy.count, dy, *xs, *self.pair(outs, dy.count))
            return
        self._find_winner(xs)
        for place, out in enumerate(outs):
            if out is not None:
                self.launch("winner_gradient", dy.count, place, dy, self._winner, out)

    def _find_winner(self, xs: Sequence[Value]) -> None:
        """The number of the input that is the maximum, per element."""
        count = xs[0].count
        if self._winner.count != count:
            self._largest, self._winner = self.scratch(count), self.scratch(count, np.int32)
        self.launch("first_winner", count, *xs[:2], self._largest, self._winner)
        for place, x in enumerate(xs[2:], start=2):
            self.launch("next_winner", count, place, x, self._largest, self._winner)
