"""Rectified linear units on oneDNN."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.onednn.binding import Algorithm, aligned
from caffepy.engine.ops.onednn.flat import Elementwise, Pairwise
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
        self._leaky = Elementwise(ops, Algorithm.RELU, slope)
        self._maxima: dict[int, _Maximum] = {}  # by number of elements

    @classmethod
    def supports(cls, ops: Ops, slope: float = 0.0) -> bool:
        """Slopes from 0 up: in place, the result then tells the sign of x."""
        return slope >= 0

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        source, target = source_and_target(x, out, x.fresh_layout)
        if self.slope:
            self._leaky(source, target)
            return
        if source.size not in self._maxima:
            self._maxima[source.size] = _Maximum(self.ops, source.size)
        self._maxima[source.size](source, target)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, in the layout of x; may be dy. x may be what forward wrote over
        it."""
        layout = x.fresh_layout
        data = x.read(layout)
        source, target = source_and_target(dy, out, layout)
        self._leaky.gradient(data, source, target)


class _Maximum:
    """max(x, 0) of flat arrays, in chunks, so that the zeros take little memory and stay in the
    cache."""

    def __init__(self, ops: PrimitiveOps, count: int) -> None:
        self._zeros = aligned(4 * min(count, CHUNK))
        self._chunks = [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
        self._maximum = Pairwise(ops, Algorithm.BINARY_MAX)
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def __call__(self, source: np.ndarray, target: np.ndarray) -> None:
        if self._arrays is None or source is not self._arrays[0] or target is not self._arrays[1]:
            flat_source, flat_target = source.reshape(-1), target.reshape(-1)
            self._arrays = source, target
            self._parts = [
                (self._zeros[: chunk.stop - chunk.start], flat_source[chunk], flat_target[chunk])
                for chunk in self._chunks
            ]
        for call, part in enumerate(self._parts):
            self._maximum(*part, call)
