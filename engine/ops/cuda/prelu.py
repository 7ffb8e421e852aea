"""Rectified linear units with slopes that are learnt, on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps, KeptOnDevice
from caffepy.engine.ops.cuda.totals import ChannelTotals
from caffepy.engine.ops.geometry import AxisGeometry


class CudaPRelu(CudaOp):
    """max(x, 0) + a min(x, 0), with x seen as (outer, size, inner) and a of `size` elements."""

    family = "channels"

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._kept = KeptOnDevice(ops)
        self._totals = ChannelTotals(ops, geometry)

    @step(reads="x a", writes="out")
    def forward(self, x: Value, a: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        sizes = self.geometry.size, self.geometry.inner
        if (kept := self._kept.target(x, out)) is None:
            self.launch("prelu_forward", x.count, *sizes, x, a, out)
        else:
            self.launch("prelu_forward_kept", x.count, *sizes, x, a, out, kept)

    @step(reads="dy x a", writes="out")
    def backward_data(self, dy: Value, x: Value, a: Value, *, out: Value) -> None:
        """out: gradient of x; may be dy. x may be what forward wrote over it."""
        sizes = self.geometry.size, self.geometry.inner
        self.launch("prelu_backward", x.count, *sizes, dy, self._kept.of(x), a, out)

    @step(reads="dy x", adds="add_a")
    def backward_params(self, dy: Value, x: Value, *, add_a: Value) -> None:
        """Adds the gradient of a: the sum of dy min(x, 0)."""
        self._totals.take("dot_below", dy, self._kept.of(x))
        self._totals.give(add=add_a)
