"""Rectified linear units with slopes that are learnt, on oneDNN."""

from __future__ import annotations

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import in_place
from caffepy.engine.ops.numpy.prelu import PRelu
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Pass, aligned, describe
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.flat import Elementwise
from caffepy.engine.ops.onednn.layout import BlockedLayout
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import describe_layout, source_and_target, tensor_layout


class OneDnnPRelu(Op):
    """max(x, 0) + a min(x, 0), with x seen as (outer, size, inner) and a of `size` elements, in
    whatever layout x lies.

    The gradient of a is numpy's, on plain memory: to the library's nan is nothing. On one
    sample no primitive works in place: each of the library's threads does the last elements again
    (3.2 to 3.6, and perhaps later ones).
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._plans: dict[Layout, _Plan] = {}
        self._plan: _Plan | None = None  # of the last forward pass
        self._original: Value | None = None  # a copy of an x that was overwritten
        self._gradient: Value | None = None  # likewise of a dy
        self._copy = Elementwise(ops, Algorithm.LINEAR, 1.0)
        self._parameters = PRelu(ops, geometry)

    @classmethod
    def supports(cls, ops: Ops, geometry: AxisGeometry) -> bool:
        """Several slopes, nothing empty."""
        return geometry.size > 1 and min(geometry.shape) > 0

    @step(reads="x a", writes="out")
    def forward(self, x: Value, a: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        layout = tensor_layout(x)
        if x.shape[:2] != (self.geometry.outer, self.geometry.size):
            layout = PLAIN
        plan = self._plans.get(layout)
        if plan is None:
            plan = self._plans[layout] = _Plan(self.ops.scratchpad, self.geometry, layout)
        self._plan = plan
        if in_place(x, out):
            self._original = self._copied(x, layout, self._original)
        else:
            self._original = None
        plan.forward(self._original or x, a, out)

    @step(reads="dy x a", writes="out")
    def backward_data(self, dy: Value, x: Value, a: Value, *, out: Value) -> None:
        """out: gradient of x, after `forward`; may be dy. x may be what forward wrote over it."""
        assert self._plan is not None, "forward comes first"
        if self.geometry.outer == 1 and in_place(dy, out):
            dy = self._gradient = self._copied(dy, self._plan.layout, self._gradient)
        self._plan.backward(dy, self._original or x, a, out)

    @step(reads="dy x", adds="add_a")
    def backward_params(self, dy: Value, x: Value, *, add_a: Value) -> None:
        """Adds the gradient of a: the sum of dy min(x, 0)."""
        self._parameters.backward_params(dy, self._original or x, add_a=add_a)

    def _copied(self, x: Value, layout: Layout, copy: Value | None) -> Value:
        """The content of x in `copy`, or in a new value."""
        if copy is None:
            copy = Value(x.shape, x.dtype)
        copy.reshape(x.shape)
        self._copy(x.read(layout), copy.write(layout))
        return copy


class _Plan:
    """The passes for one layout of x."""

    def __init__(self, scratchpad: Scratchpad, geometry: AxisGeometry, layout: Layout) -> None:
        self.layout = layout
        shape = layout.dims if isinstance(layout, BlockedLayout) else geometry.shape
        x = describe_layout(layout, shape)
        a = Descriptor.plain((1, geometry.size, *[1] * len(shape[2:])))
        forward = describe("prelu_forward", Pass.FORWARD_TRAINING, x, a, x)
        backward = describe("prelu_backward", x, a, x, a, x, forward=forward)
        self._unwanted = aligned(a.bytes)  # the library's gradient of a
        self._forward = Execution(forward, scratchpad, Arg.SOURCE, Arg.WEIGHTS, Arg.TARGET)
        places = Arg.SOURCE, Arg.WEIGHTS, Arg.TARGET_DIFF, Arg.SOURCE_DIFF, Arg.WEIGHTS_DIFF
        self._backward = Execution(backward, scratchpad, *places)

    def forward(self, x: Value, a: Value, out: Value) -> None:
        source, target = source_and_target(x, out, self.layout)
        self._forward(source, a.read(), target)

    def backward(self, dy: Value, x: Value, a: Value, out: Value) -> None:
        data = x.read(self.layout)
        source, target = source_and_target(dy, out, self.layout)
        self._backward(data, a.read(), source, target, self._unwanted)
