"""Dropout on oneDNN."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.random import Counter, Stream
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.numpy.arrays import ScratchOp
from caffepy.engine.ops.onednn.binding import Algorithm
from caffepy.engine.ops.onednn.flat import Pairwise
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import source_and_target

WORDS = 1 << 14  # of random bits at a time: 128 KB, with what is made of them, stay in the cache


class OneDnnDropout(ScratchOp):
    """x with a random part `ratio` of its elements set to 0 and the others times `scale`.

    Element i, in plain order, stays where 32-bit half i of `stream` at position `passes` is at
    least ratio 2^32, so that masks are the same on every device. The mask is `scale` or 0; it is
    made as plain memory and laid out as x.
    """

    ops: PrimitiveOps

    def __init__(
        self, ops: PrimitiveOps, ratio: float, scale: float, stream: Stream, passes: Counter
    ) -> None:
        super().__init__(ops)
        self.threshold = np.uint32(round(ratio * 2.0**32))
        self.scale = ops.dtype.type(scale)
        self.stream = stream
        self.passes = passes
        self._mask = Value((0,), ops.dtype)
        self._layout: Layout = PLAIN  # of the last forward pass
        self._multiply = Pairwise(ops, Algorithm.BINARY_MUL)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._layout = x.fresh_layout
        self._mask.reshape(x.shape)
        self._draw(self._mask.write().reshape(-1))
        self._apply(x, out)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, through the elements that stayed in the last forward; may be dy."""
        self._apply(dy, out)

    def _apply(self, x: Value, out: Value) -> None:
        mask = self._mask.read(self._layout)
        source, target = source_and_target(x, out, self._layout)
        self._multiply(source, mask, target)

    def _draw(self, mask: np.ndarray) -> None:
        """Overwrites the mask with a new one."""
        words = self.take("words", (WORDS,), np.uint64)
        for start, halves in self.stream.halves_parts(self.passes.value, mask.size, words):
            stays = self.take("stays", halves.shape, bool)
            np.greater_equal(halves, self.threshold, out=stays)
            part = mask[start : start + halves.size]
            np.copyto(part, stays)
            part *= self.scale
