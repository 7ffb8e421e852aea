"""Convolution with a kernel for each channel on a GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops, Prospect
from caffepy.engine.ops.cuda import normalised
from caffepy.engine.ops.cuda.batch_norm import CudaBatchNorm
from caffepy.engine.ops.cuda.bias import CudaBias
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.rectified import with_relu, with_relu_before
from caffepy.engine.ops.cuda.totals import ChannelTotals
from caffepy.engine.ops.cuda.windows import plane_windows
from caffepy.engine.ops.geometry import AxisGeometry, ConvolutionGeometry

TILE = 9  # as in kernels/depthwise.cu
BLOCKS = 1024  # that keep a GPU busy
LEAST = 4096  # windows that are worth a block


class CudaDepthwise(CudaOp):
    """A convolution of one input and one output channel per group, without columns.

    The gradient of w comes in parts of all windows, as many as the shape demands, which are then
    added up in order.
    """

    family = "depthwise"

    @classmethod
    def supports(cls, ops: Ops, geometry: ConvolutionGeometry) -> bool:
        channels = geometry.shape[1]
        return geometry.group == channels == geometry.num_output and len(geometry.kernel) <= 2

    def __init__(self, ops: DeviceOps, geometry: ConvolutionGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        count, channels = geometry.shape[:2]
        places = math.prod(geometry.out_spatial)
        self._windows = plane_windows(ops, geometry)
        self._bias = CudaBias(ops, AxisGeometry(count, channels, places))
        self._tiles = -(-math.prod(geometry.kernel) // TILE)
        self._total = count * places
        wanted = -(-BLOCKS // max(1, channels * self._tiles))
        self._parts = max(1, min(wanted, self._total // LEAST))
        weights = math.prod(geometry.weight_shape)
        self._totals = ChannelTotals(ops, AxisGeometry(self._parts, weights, 1))
        ops.workspace.reserve("first", self._parts * weights)

    @step(reads="x w b", writes="out")
    def forward(self, x: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: y."""
        self.rectified_forward(1.0, x, w, b, out=out)

    def merged(self, step: Step, after: Step) -> Step | None:
        """ReLU in place."""
        return with_relu(self, step, after)

    def folded(self, step: Step, after: Step, prospect: Prospect) -> Step | None:
        """BatchNorm in place by stored statistics, and what may follow that."""
        return normalised.folded(step, after) if isinstance(after.op, CudaBatchNorm) else None

    def rearranged(self, before: Sequence[Step], step: Step) -> tuple[int, Sequence[Step]] | None:
        """The gradient of the bias, with ReLU's backward pass."""
        return with_relu_before(self._bias, before, step)

    def rectified_forward(
        self, slope: float, x: Value, w: Value, b: Value | None, *, out: Value
    ) -> None:
        """`forward` and ReLU."""
        bias = w if b is None else b
        options = b is not None, slope, self._windows
        self.launch("depthwise_forward", out.count, *options, x, w, bias, out)

    @step(reads="dy w", writes="out")
    def backward_data(self, dy: Value, w: Value, *, out: Value) -> None:
        """out: gradient of x."""
        self.launch("depthwise_data", out.count, self._windows, dy, w, out)

    @step(reads="dy x", adds="add_w add_b")
    def backward_params(
        self, dy: Value, x: Value, *, add_w: Value | None = None, add_b: Value | None = None
    ) -> None:
        """Adds the gradients of the parameters."""
        if add_b is not None:
            self._bias.backward_bias(dy, add_b=add_b)
        if add_w is None:
            return
        sums = self.ops.workspace.take("first")
        rows = self._parts * self.geometry.shape[1] * self._tiles
        length = -(-self._total // self._parts)
        sizes = self._tiles, length, self._total
        self.launch_rows("depthwise_weights", rows, *sizes, self._windows, dy, x, sums)
        self._totals.take("sum", sums)
        self._totals.give(add=add_w)
