"""Pooling on a GPU."""

from __future__ import annotations

import math

import numpy as np

from caffepy.engine.core.random import Counter, Stream
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.windows import plane_windows
from caffepy.engine.ops.geometry import PoolingGeometry

WIDE = 32  # places of windows that have a warp each


class CudaPooling(CudaOp):
    """The maximum or the mean of each window; geometry.method is "MAX" or "AVE".

    x: geometry.shape.  y: geometry.out_shape. MAX leaves padding and nan out, and its first maximum
    in row order wins; a window without a number above -FLT_MAX gives that. Its backward pass is
    that of the last forward pass, whose choices it keeps. AVE counts padding as zeros, and divides
    by the window's part inside the padded image.
    """

    family = "pooling"

    def __init__(self, ops: DeviceOps, geometry: PoolingGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._windows = plane_windows(ops, geometry)
        self._wide = math.prod(geometry.kernel) >= WIDE
        dtype = np.int32 if self._wide else np.uint8
        self._chosen = self.scratch(math.prod(geometry.out_shape), dtype)

    @step(reads="x", writes="out mask")
    def forward(self, x: Value, *, out: Value, mask: Value | None = None) -> None:
        """out: y. mask: like y, for MAX only: where in its plane, row * W + column, each maximum
        lies."""
        launch = self.launch_rows if self._wide else self.launch
        if self.geometry.method == "AVE":
            launch(self._kernel("ave_forward"), out.count, self._windows, x, out)
            return
        kernel = self._kernel("max_forward")
        launch(kernel, out.count, self._windows, x, out, self._chosen)
        if mask is not None:
            kernel = self._kernel("mask_of")
            self.launch(kernel, mask.count, self._windows, self._chosen, mask)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x."""
        if self.geometry.method == "AVE":
            self.launch("ave_backward", out.count, self._windows, dy, out)
        else:
            kernel = self._kernel("chosen_backward")
            self.launch(kernel, out.count, self._windows, dy, self._chosen, out)

    def _kernel(self, name: str) -> str:
        return f"{name}_wide" if self._wide else name


class CudaStochasticPooling(CudaOp):
    """One element of each window, drawn with a probability proportional to it; or the mean weighted
    by these probabilities.

    x: geometry.shape, not negative.  y: geometry.out_shape. Element i of a window in row order is
    drawn where its cumulated sum is the first to reach u times the window's sum; u in (0, 1] is
    made of the 32-bit half at the window's place in `stream` at `passes`. A window of zeros gives
    its first element.
    """

    family = "pooling"

    def __init__(
        self, ops: DeviceOps, geometry: PoolingGeometry, stream: Stream, passes: Counter
    ) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self.stream = stream
        self.passes = passes
        self._position = ops.number(passes)
        self._windows = plane_windows(ops, geometry)
        self._chosen = self.scratch(math.prod(geometry.out_shape), np.int32)

    @step(reads="x", writes="out")
    def forward_train(self, x: Value, *, out: Value) -> None:
        """out: y, drawn."""
        self._position.bring()
        numbers = self._windows, *self.stream.key, self._position.value
        self.launch("draw", out.count, *numbers, x, out, self._chosen)

    @step(reads="x", writes="out")
    def forward_test(self, x: Value, *, out: Value) -> None:
        """out: sum of squares over sum of each window; 0 where the sum is not positive."""
        self.launch("expected", out.count, self._windows, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, through what the last forward_train drew."""
        self.launch("chosen_backward_wide", out.count, self._windows, dy, self._chosen, out)
