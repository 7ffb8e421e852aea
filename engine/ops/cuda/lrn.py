"""Local response normalisation on a GPU."""

from __future__ import annotations

import math

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.geometry import LrnGeometry

UNROLLED = (3, 5)  # sizes across channels that have kernels of their own
THREADS = 1 << 17  # that keep a GPU busy
LEAST = 16  # channels that are worth a thread, which looks at a few more


class CudaLrn(CudaOp):
    """y = x s^-beta, s = k + alpha / n * sum of x^2 over the n elements around each: `size`
    channels, or a window of size x size pixels in the same plane. Beyond the edges there are zeros.

    x, y: geometry.shape.
    """

    family = "lrn"

    def __init__(self, ops: DeviceOps, geometry: LrnGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        count, channels, height, width = geometry.shape
        size, within = geometry.size, geometry.within_channel
        weight = geometry.alpha / size ** (2 if within else 1)
        self._numbers = weight, geometry.beta, geometry.k
        self._factor = 2 * geometry.beta * weight
        self._unrolled = not within and size in UNROLLED
        if self._unrolled:
            pixels = count * height * width
            segments = max(1, min(channels // LEAST, -(-THREADS // max(1, pixels))))
            length = -(-channels // segments)
            segments = -(-channels // max(1, length))
            self._threads = pixels * segments
            self._sizes: tuple[int, ...] = (channels, length, segments, height * width)
        else:
            reach = size // 2
            self._sizes = channels, height, width, *((0, reach, reach) if within else (reach, 0, 0))
            ops.workspace.reserve("first", math.prod(geometry.shape))

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: y."""
        if self._unrolled:
            kernel = f"across{self.geometry.size}_forward"
            self.launch(kernel, self._threads, *self._sizes, *self._numbers, x, out)
        else:
            self.launch("lrn_forward", x.count, *self._sizes, *self._numbers, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy s^-beta - 2 alpha beta / n * x * sum of dy y / s over the same
        elements."""
        numbers = *self._sizes, *self._numbers
        if self._unrolled:
            kernel = f"across{self.geometry.size}_backward"
            self.launch(kernel, self._threads, *numbers, self._factor, dy, x, out)
            return
        ratios = self.ops.workspace.take("first")
        self.launch("lrn_ratios", x.count, *numbers, dy, x, out, ratios)
        self.launch("lrn_backward", x.count, *self._sizes, self._factor, x, ratios, out)
