"""Dropout on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.random import Counter, Stream
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.numpy.arrays import source_and_target


class Dropout(Op):
    """x with a random part `ratio` of its elements set to 0 and the others times `scale`.

    Element i stays where 32-bit half i of `stream` at position `passes` is at least ratio 2^32, so
    that masks are the same on every device.
    """

    def __init__(
        self, ops: Ops, ratio: float, scale: float, stream: Stream, passes: Counter
    ) -> None:
        super().__init__(ops)
        self.threshold = np.uint32(round(ratio * 2.0**32))
        self.scale = ops.dtype.type(scale)
        self.stream = stream
        self.passes = passes
        self._stays = np.empty(0, bool)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        halves = self.stream.halves(self.passes.value, x.count)
        if self._stays.size != x.count:
            self._stays = np.empty(x.count, bool)
        np.greater_equal(halves, self.threshold, out=self._stays)
        self._apply(x, out)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, through the elements that stayed in the last forward; may be dy."""
        self._apply(dy, out)

    def _apply(self, x: Value, out: Value) -> None:
        source, target = source_and_target(x, out)
        np.multiply(source, self.scale, out=target)
        target *= self._stays.reshape(target.shape)
