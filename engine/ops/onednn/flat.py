"""Elementwise work on the memory of values in whatever layout they lie: as flat arrays, with the
padding that blocked layouts have taken along."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.numpy.arrays import ScratchOp
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Pass, Primitive, describe
from caffepy.engine.ops.onednn.execution import Execution
from caffepy.engine.ops.onednn.layout import BlockedLayout
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import source_and_target


def has_padding(layout: Layout) -> bool:
    """Whether some of the memory belongs to no element."""
    return isinstance(layout, BlockedLayout) and layout.descriptor.bytes != layout.plain.bytes


def common_layout(values: Sequence[Value]) -> Layout:
    """The layout for work on values of one shape: that of the first that is not plain."""
    layouts = (value.fresh_layout for value in values)
    return next((layout for layout in layouts if layout is not PLAIN), PLAIN)


class Elementwise:
    """One of the library's functions of one element, and its gradient, on arrays of any length."""

    def __init__(
        self, ops: PrimitiveOps, algorithm: Algorithm, alpha: float = 0.0, beta: float = 0.0
    ) -> None:
        self._ops = ops
        self._function = algorithm, alpha, beta
        self._forward: dict[int, Execution] = {}
        self._gradient: dict[int, Execution] = {}

    def __call__(self, source: np.ndarray, target: np.ndarray) -> None:
        """Overwrites target, which may be source."""
        run = self._forward.get(source.size)
        if run is None:
            primitive = self._primitive(source.size)
            run = Execution(primitive, self._ops.scratchpad, Arg.SOURCE, Arg.TARGET)
            self._forward[source.size] = run
        run(source, target)

    def gradient(self, given: np.ndarray, dy: np.ndarray, target: np.ndarray) -> None:
        """Overwrites target, which may be dy.  given: what the function read, or wrote, as its
        algorithm says."""
        run = self._gradient.get(dy.size)
        if run is None:
            algorithm, *numbers = self._function
            flat = Descriptor.plain((dy.size,))
            primitive = describe(
                "eltwise_backward", algorithm, flat, flat, flat, *numbers,
                forward=self._primitive(dy.size),
            )  # fmt: skip
            from_output = algorithm in (Algorithm.TANH, Algorithm.LOGISTIC)
            given_place = Arg.TARGET if from_output else Arg.SOURCE
            places = given_place, Arg.TARGET_DIFF, Arg.SOURCE_DIFF
            run = self._gradient[dy.size] = Execution(primitive, self._ops.scratchpad, *places)
        run(given, dy, target)

    def _primitive(self, count: int) -> Primitive:
        algorithm, *numbers = self._function
        flat = Descriptor.plain((count,))
        kind = Pass.FORWARD_TRAINING
        return describe("eltwise_forward", kind, algorithm, flat, flat, *numbers)


class Pairwise:
    """One of the library's functions of two elements, on arrays of any length."""

    def __init__(self, ops: PrimitiveOps, algorithm: Algorithm) -> None:
        self._ops = ops
        self._algorithm = algorithm
        self._runs: dict[tuple[int, int], Execution] = {}

    def __call__(
        self, first: np.ndarray, second: np.ndarray, target: np.ndarray, call: int = 0
    ) -> None:
        """Overwrites target, which may be first or second.  call: tells the calls of a pass
        apart, so that each finds the arrays it knows."""
        run = self._runs.get((first.size, call))
        if run is None:
            flat = Descriptor.plain((first.size,))
            primitive = describe("binary", self._algorithm, flat, flat, flat)
            places = Arg.SOURCE, Arg.SOURCE_1, Arg.TARGET
            run = Execution(primitive, self._ops.scratchpad, *places)
            self._runs[first.size, call] = run
        run(first, second, target)


class FlatOp(ScratchOp):
    """Base of functions of one element that work in the layout of x.

    `run` and `run_gradient` get the memory. As they stand here they call the numpy class
    `reference`, of which this object is one too. Where zero_stays is false, zeros in x or dy may
    become other numbers: then x is taken as plain memory if its layout has padding.
    """

    ops: PrimitiveOps
    reference: ClassVar[type[Any]]
    zero_stays: bool = True
    _layout: Layout = PLAIN  # of the last forward pass

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        layout = x.fresh_layout
        self._layout = layout if self.zero_stays or not has_padding(layout) else PLAIN
        self.run(*source_and_target(x, out, self._layout))

    def run(self, source: np.ndarray, target: np.ndarray) -> None:
        """Overwrites target, which may be source."""
        shown, out = self.show_pair(source, target)
        self.reference.forward(self, shown, out=out)

    def run_gradient(self, given: np.ndarray, dy: np.ndarray, target: np.ndarray) -> None:
        """Overwrites target, which may be dy, with the gradient of x.  given: what `backward` takes
        besides dy."""
        shown, out = self.show_pair(dy, target)
        self.reference.backward(self, shown, self.show("given", given), out=out)

    def show(self, name: str, memory: np.ndarray) -> Value:
        """A value that has the array as its plain memory, for numpy's classes; one per name."""
        known = self._shown.get(name)
        if known is None or known[0] is not memory:
            value = Value((memory.size,), memory.dtype)
            value.move_to(memory.reshape(-1))
            value.write()
            known = self._shown[name] = memory, value
        return known[1]

    def show_pair(self, source: np.ndarray, target: np.ndarray) -> tuple[Value, Value]:
        """What is read and what is written, as values; one where the op works in place."""
        shown = self.show("source", source)
        return shown, shown if target is source else self.show("target", target)

    def _backward(self, dy: Value, given: Value, out: Value) -> None:
        array = given.read(self._layout)
        self.run_gradient(array, *source_and_target(dy, out, self._layout))

    @functools.cached_property
    def _shown(self) -> dict[str, tuple[np.ndarray, Value]]:
        return {}


class FlatOfInput(FlatOp):
    """The gradient is taken from x."""

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, in the layout of x; may be dy. x may be what forward wrote over
        it."""
        self._backward(dy, x, out)


class FlatOfOutput(FlatOp):
    """The gradient is taken from y."""

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, in the layout of x; may be dy. y: what forward wrote."""
        self._backward(dy, y, out)
