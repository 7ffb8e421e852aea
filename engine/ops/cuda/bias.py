"""Adding a value along some axes of another on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.rectified import with_relu
from caffepy.engine.ops.cuda.totals import ChannelTotals
from caffepy.engine.ops.geometry import AxisGeometry


class CudaBias(CudaOp):
    """y = x + b, with x seen as (outer, size, inner) and b of `size` elements."""

    family = "channels"

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._totals = ChannelTotals(ops, geometry)

    @step(reads="x b", writes="out")
    def forward(self, x: Value, b: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self.rectified_forward(1.0, x, b, out=out)

    def merged(self, step: Step, after: Step) -> Step | None:
        """ReLU in place."""
        return with_relu(self, step, after)

    def rectified_forward(self, slope: float, x: Value, b: Value, *, out: Value) -> None:
        """`forward` and ReLU."""
        sizes = x.count, self.geometry.size, self.geometry.inner
        self.launch("bias_forward", *sizes, slope, x, b, out)

    @step(reads="dy", writes="out", adds="add_b")
    def backward_bias(
        self, dy: Value, *, out: Value | None = None, add_b: Value | None = None
    ) -> None:
        """out: gradient of b.  add_b: the same is added to it."""
        self._totals.take("sum", dy)
        self._totals.give(out=out, add=add_b)

    def rectified_backward(self, slope: float, y: Value, dy: Value, add_b: Value) -> None:
        """The backward pass of a ReLU in place of dy, whose results are y, and `backward_bias`."""
        self._totals.take("rectified_sum", slope, dy, y, dy)
        self._totals.give(add=add_b)
