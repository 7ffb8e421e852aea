"""Rectified linear units on oneDNN."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.onednn.binding import (
    Algorithm,
    Arg,
    Descriptor,
    Execution,
    Pass,
    Primitive,
    Scratchpad,
    aligned,
    describe,
)
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import source_and_target

CHUNK = 1 << 18  # elements: a chunk of zeros that stays in the cache


class OneDnnRelu(Op):
    """max(x, 0) + slope min(x, 0), in whatever layout x lies: its memory is one flat array, in
    which padding is zero and remains so.

    nan stays nan, as in Caffe. The library's own ReLU makes it 0 where the slope is 0; its maximum
    of zero and x, in this order, does not.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, slope: float = 0.0) -> None:
        super().__init__(ops)
        self.slope = slope
        self._forward: dict[int, Execution | _Maximum] = {}  # by number of elements
        self._backward: dict[int, Execution] = {}

    @classmethod
    def supports(cls, ops: Ops, slope: float = 0.0) -> bool:
        """Slopes from 0 up: in place, the result then tells the sign of x."""
        return slope >= 0

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        source, target = source_and_target(x, out, x.fresh_layout)
        count = source.size
        if count not in self._forward:
            self._forward[count] = (
                self._leaky(count) if self.slope else _Maximum(self.ops.scratchpad, count)
            )
        self._forward[count](source, target)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, in the layout of x; may be dy. x may be what forward wrote over
        it."""
        layout = x.fresh_layout
        data = x.read(layout)
        source, target = source_and_target(dy, out, layout)
        if data.size not in self._backward:
            self._backward[data.size] = self._gradient(data.size)
        self._backward[data.size](data, source, target)

    def _leaky(self, count: int) -> Execution:
        return Execution(self._primitive(count), self.ops.scratchpad, Arg.SOURCE, Arg.TARGET)

    def _gradient(self, count: int) -> Execution:
        flat = Descriptor.plain((count,))
        primitive = describe(
            "eltwise_backward", Algorithm.RELU, flat, flat, flat, self.slope, 0.0,
            forward=self._primitive(count),
        )  # fmt: skip
        places = Arg.SOURCE, Arg.TARGET_DIFF, Arg.SOURCE_DIFF
        return Execution(primitive, self.ops.scratchpad, *places)

    def _primitive(self, count: int) -> Primitive:
        flat = Descriptor.plain((count,))
        return describe(
            "eltwise_forward", Pass.FORWARD_TRAINING, Algorithm.RELU, flat, flat, self.slope, 0.0
        )


class _Maximum:
    """max(x, 0) of flat arrays, in chunks, so that the zeros take little memory and stay in the
    cache."""

    def __init__(self, scratchpad: Scratchpad, count: int) -> None:
        self._zeros = aligned(4 * min(count, CHUNK))
        self._chunks = [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
        self._runs = []
        for chunk in self._chunks:
            flat = Descriptor.plain((chunk.stop - chunk.start,))
            primitive = describe("binary", Algorithm.BINARY_MAX, flat, flat, flat)
            places = Arg.SOURCE, Arg.SOURCE_1, Arg.TARGET
            self._runs.append(Execution(primitive, scratchpad, *places))
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def __call__(self, source: np.ndarray, target: np.ndarray) -> None:
        if self._arrays is None or source is not self._arrays[0] or target is not self._arrays[1]:
            flat_source, flat_target = source.reshape(-1), target.reshape(-1)
            self._arrays = source, target
            self._parts = [(flat_source[chunk], flat_target[chunk]) for chunk in self._chunks]
        for run, (part, target_part) in zip(self._runs, self._parts, strict=True):
            run(self._zeros, part, target_part)
