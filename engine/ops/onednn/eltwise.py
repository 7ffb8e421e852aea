"""Combining values of one shape element by element on oneDNN."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.numpy.arrays import ScratchOp
from caffepy.engine.ops.numpy.eltwise import EltwiseMax
from caffepy.engine.ops.onednn.binding import Algorithm
from caffepy.engine.ops.onednn.flat import Elementwise, Pairwise, common_layout, has_padding
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.residual import RectifiedGradient


class OneDnnEltwiseSum(ScratchOp):
    """c0 x0 + c1 x1 + ..., in the layout of an input; gradients lie in the same one."""

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, coefficients: Sequence[float]) -> None:
        """coefficients: one per input."""
        super().__init__(ops)
        self.coefficients = tuple(coefficients)
        self._times = {each: Elementwise(ops, Algorithm.LINEAR, each) for each in coefficients}
        self._copies = [Elementwise(ops, Algorithm.LINEAR, each) for each in coefficients]
        self._add = Pairwise(ops, Algorithm.BINARY_ADD)
        self._subtract = Pairwise(ops, Algorithm.BINARY_SUBTRACT)
        self.layout: Layout = PLAIN  # of the last forward pass

    @classmethod
    def supports(cls, ops: Ops, coefficients: Sequence[float]) -> bool:
        """Coefficients that leave the zeros of padding zero."""
        return all(map(math.isfinite, coefficients))

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """xs, out: of one shape; out is none of xs."""
        layout = self.layout = common_layout(xs)
        total, *others = (x.read(layout) for x in xs)
        target = out.write(layout)
        first, *coefficients = self.coefficients
        if first != 1 or not others:
            self._times[first](total, target)
            total = target
        for call, (x, coefficient) in enumerate(zip(others, coefficients, strict=True)):
            term = x
            if abs(coefficient) != 1:
                term = self.take("term", x.shape)
                self._times[coefficient](x, term)
            run = self._subtract if coefficient == -1 else self._add
            run(total, term, target, call)
            total = target

    @step(reads="dy", writes="outs")
    def backward(self, dy: Value, *, outs: Sequence[Value | None]) -> None:
        """outs: gradients of xs; None where one is not wanted."""
        gradient = dy.read(self.layout)
        for out, copy in zip(outs, self._copies, strict=True):
            if out is not None:
                copy(gradient, out.write(self.layout))

    def rearranged(self, before: Sequence[Step], step: Step) -> tuple[int, Sequence[Step]] | None:
        """The gradient of ReLU in place comes with that of the sum."""
        if step.method != "backward" or set(self.coefficients) != {1} or not before:
            return None
        both = RectifiedGradient.of(self.ops, before[-1], step)
        return None if both is None else (1, (both,))


class OneDnnEltwiseProduct(Op):
    """x0 x1 x2 ..., in the layout of an input; gradients lie in the same one.

    stable: gradients multiply the other inputs; otherwise they divide the product by the input,
    which is nan where that is 0.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, stable: bool = True) -> None:
        super().__init__(ops)
        self.stable = stable
        self._multiply = Pairwise(ops, Algorithm.BINARY_MUL)
        self._divide = Pairwise(ops, Algorithm.BINARY_DIVIDE)
        self._layout: Layout = PLAIN

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """xs, out: of one shape; out is none of xs."""
        assert len(xs) > 1, "a product has several factors"
        layout = common_layout(xs)
        if not self.stable and has_padding(layout):
            layout = PLAIN  # backward would make nan of the zeros of padding
        self._layout = layout
        product, *others = (x.read(layout) for x in xs)
        target = out.write(layout)
        for call, x in enumerate(others):
            self._multiply(product, x, target, call)
            product = target

    @step(reads="dy xs y", writes="outs")
    def backward(
        self, dy: Value, xs: Sequence[Value], y: Value, *, outs: Sequence[Value | None]
    ) -> None:
        """y: the product.  outs: gradients of xs; None where one is not wanted."""
        layout, width = self._layout, len(xs)
        arrays = [x.read(layout) for x in xs]
        for place, out in enumerate(outs):
            if out is None:
                continue
            call = width * (1 + place)  # forward has the numbers below
            product, target = dy.read(layout), out.write(layout)
            factors = [*arrays[:place], *arrays[place + 1 :]]
            if not self.stable:
                self._divide(y.read(layout), arrays[place], target, call)
                factors, product = [product], target
            for index, factor in enumerate(factors):
                self._multiply(product, factor, target, call + index)
                product = target


class OneDnnEltwiseMax(Op):
    """max(x0, x1, x2, ...), in the layout of an input. The gradient goes to one input: of equal
    first two the second, of later ones only one that is larger than all before it, as in Caffe.

    The library's maximum is its first argument where that is larger, else the second, nan or not:
    Caffe's comparison.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps) -> None:
        super().__init__(ops)
        self._maximum = Pairwise(ops, Algorithm.BINARY_MAX)
        self._less = Pairwise(ops, Algorithm.BINARY_LESS)  # false where one is nan, unlike greater
        self._multiply = Pairwise(ops, Algorithm.BINARY_MUL)
        self._one_minus = Elementwise(ops, Algorithm.LINEAR, -1.0, 1.0)
        self._layout: Layout = PLAIN
        self._several: EltwiseMax | None = None

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """xs, out: of one shape; out is none of xs."""
        layout = self._layout = common_layout(xs)
        first, second, *others = (x.read(layout) for x in xs)
        target = out.write(layout)
        self._maximum(first, second, target)
        for call, x in enumerate(others, start=1):
            self._maximum(x, target, target, call)

    @step(reads="dy xs", writes="outs")
    def backward(self, dy: Value, xs: Sequence[Value], *, outs: Sequence[Value | None]) -> None:
        """outs: gradients of xs; None where one is not wanted."""
        if len(xs) > 2:
            if self._several is None:
                self._several = EltwiseMax(self.ops)
            self._several.backward(dy, xs, outs=outs)
            return
        gradient = dy.read(self._layout)
        first, second = (x.read(self._layout) for x in xs)
        for place, out in enumerate(outs):
            if out is None:
                continue
            target = out.write(self._layout)
            self._less(second, first, target, place)
            if place == 1:
                self._one_minus(target, target)
            self._multiply(gradient, target, target, place)
