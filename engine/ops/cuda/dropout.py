"""Dropout on a GPU."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.random import Counter, Stream
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps


class CudaDropout(CudaOp):
    """x with a random part `ratio` of its elements set to 0 and the others times `scale`.

    Element i stays where 32-bit half i of `stream` at position `passes` is at least ratio 2^32, so
    that masks are the same on every device. Forward keeps the mask, a bit per element.
    """

    family = "dropout"

    def __init__(
        self, ops: DeviceOps, ratio: float, scale: float, stream: Stream, passes: Counter
    ) -> None:
        super().__init__(ops)
        self.threshold = np.uint32(round(ratio * 2.0**32))
        self.scale = scale
        self.stream = stream
        self.passes = passes
        self._position = ops.number(passes)
        self._mask = self.scratch(0, np.uint8)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._position.bring()
        if self._mask.count != (x.count + 7) // 8:
            self._mask = self.scratch((x.count + 7) // 8, np.uint8)
        numbers = x.count, self.threshold, self.scale, *self.stream.key
        self.launch(
            "dropout_forward", self._mask.count, *numbers, self._position.value, x, out, self._mask
        )

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x, through the elements that stayed in the last forward; may be dy."""
        numbers = dy.count, self.scale
        self.launch("dropout_backward", self._mask.count, *numbers, dy, self._mask, out)
