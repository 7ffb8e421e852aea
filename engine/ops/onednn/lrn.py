"""Local response normalisation on oneDNN."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caffepy.engine.core.layout import Layout
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import LrnGeometry
from caffepy.engine.ops.numpy.lrn import Lrn
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Pass, Primitive, aligned, describe
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.layout import layout_of
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import (
    channels_last,
    convolution_layout,
    describe_layout,
    tensor_layout,
)

SLOW = "ref"  # the implementation for what has no kernel of its own
SIZES = 3, 5  # version 3.2 may crash for 1, and computes the last of odd channels wrong from 7 on
SMALLEST, LARGEST = 1e-10, 1e12  # of s: the library takes the root of s^3


class OneDnnLrn(Op):
    """y = x s^-beta, s = k + alpha / n * sum of x^2 over the n elements around each: `size`
    channels, or a window of size x size pixels in the same plane. Beyond the edges there are zeros.

    x, y: geometry.shape, in the layout of x if the library is fast there, else in one where it is.
    numpy does both passes where there is none (beta other than 0.75), and where x is so large, or
    nan, that the library's intermediate results might overflow.

    The first backward pass computes s again; from then on forward keeps it.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, geometry: LrnGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        area = geometry.size ** (2 if geometry.within_channel else 1)
        # Of the sum of x^2 over all elements, which no window exceeds; always finite.
        self._largest = min(LARGEST * area / (geometry.alpha or 1), float(np.finfo(np.float32).max))
        self._plans: dict[Layout, _Plan | None] = {}
        self._plan: _Plan | None = None  # of the last forward pass; None where it was numpy's
        self._learns = False
        self._numpy: Lrn | None = None

    @classmethod
    def supports(cls, ops: Ops, geometry: LrnGeometry) -> bool:
        """Nothing empty, an s that is always positive, and the usual sizes."""
        always_positive = SMALLEST <= geometry.k < LARGEST and geometry.alpha >= 0
        return min(geometry.shape) > 0 and geometry.size in SIZES and always_positive

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: y."""
        plan = self._plan = self._plan_for(x)
        if plan is not None:
            source = x.read(plan.layout)
            flat = source.reshape(-1)
            if np.dot(flat, flat) <= self._largest:
                plan.forward(source, out.write(plan.layout), self._learns)
                return
            self._plan = None
        self._reference().forward(x, out=out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy s^-beta - 2 alpha beta / n * x * sum of dy y / s over the same
        elements."""
        plan = self._plan
        if plan is None:
            self._reference().backward(dy, x, out=out)
            return
        layout, self._learns = plan.layout, True
        plan.backward(dy.read(layout), x.read(layout), out.write(layout))

    def _plan_for(self, x: Value) -> _Plan | None:
        """None where no layout has a fast primitive."""
        layout = tensor_layout(x)
        if layout not in self._plans:
            self._plans[layout] = self._make(layout)
        return self._plans[layout]

    def _make(self, layout: Layout) -> _Plan | None:
        for wanted in self._layouts(layout):
            known = self._plans.get(wanted)
            if known is not None:
                return known
            plan = _Plan(self.ops.scratchpad, self.geometry, wanted)
            if plan.fast:
                self._plans[wanted] = plan
                return plan
        return None

    def _layouts(self, first: Layout) -> Iterator[Layout]:
        """Those to try, best first."""
        yield first
        yield convolution_layout(self.geometry.shape)
        yield layout_of(channels_last(self.geometry.shape))

    def _reference(self) -> Lrn:
        if self._numpy is None:
            self._numpy = Lrn(self.ops, self.geometry)
        return self._numpy


class _Plan:
    """Both passes for one layout of x, y and their gradients.

    fast: whether the library has code of its own for both.
    """

    def __init__(self, scratchpad: Scratchpad, geometry: LrnGeometry, layout: Layout) -> None:
        self.layout = layout
        self._scratchpad = scratchpad
        self._tensor = tensor = describe_layout(layout, geometry.shape)
        self._formula = geometry.size, geometry.alpha, geometry.beta, geometry.k
        self._algorithm = (
            Algorithm.LRN_WITHIN_CHANNEL
            if geometry.within_channel
            else Algorithm.LRN_ACROSS_CHANNELS
        )
        self._forward_primitive = self._describe_forward(Pass.FORWARD_TRAINING)
        self._backward_primitive = describe(
            "lrn_backward", self._algorithm, tensor, tensor, tensor, *self._formula,
            forward=self._forward_primitive,
        )  # fmt: skip
        primitives = self._forward_primitive, self._backward_primitive
        self.fast = not any(each.implementation.startswith(SLOW) for each in primitives)
        self._forward: Execution | None = None
        self._keeping: Execution | None = None
        self._backward: Execution | None = None
        self._kept: list[np.ndarray] = []  # what the forward pass keeps for the backward pass
        self._has_kept = False  # in the last forward pass

    def forward(self, x: np.ndarray, y: np.ndarray, keep: bool) -> None:
        """Overwrites y. keep: for a backward pass."""
        self._has_kept = keep
        if keep:
            self._keep(x, y)
            return
        if self._forward is None:
            primitive = self._describe_forward(Pass.FORWARD_INFERENCE)
            self._forward = Execution(primitive, self._scratchpad, Arg.SOURCE, Arg.TARGET)
        self._forward(x, y)

    def backward(self, dy: np.ndarray, x: np.ndarray, dx: np.ndarray) -> None:
        """Overwrites dx."""
        if not self._has_kept:
            self._keep(x, dx)  # dx is only room for y here
            self._has_kept = True
        if self._backward is None:
            places = [Arg.TARGET_DIFF, Arg.SOURCE, Arg.SOURCE_DIFF]
            places += [Arg.WORKSPACE] * len(self._kept)
            self._backward = Execution(self._backward_primitive, self._scratchpad, *places)
        self._backward(dy, x, dx, *self._kept)

    def _keep(self, x: np.ndarray, y: np.ndarray) -> None:
        """Forward, keeping."""
        if self._keeping is None:
            size = self._forward_primitive.argument(Arg.WORKSPACE).bytes
            self._kept = [aligned(size)] * bool(size)
            places = [Arg.SOURCE, Arg.TARGET] + [Arg.WORKSPACE] * len(self._kept)
            self._keeping = Execution(self._forward_primitive, self._scratchpad, *places)
        self._keeping(x, y, *self._kept)

    def _describe_forward(self, kind: Pass) -> Primitive:
        tensor = self._tensor
        return describe("lrn_forward", kind, self._algorithm, tensor, tensor, *self._formula)
