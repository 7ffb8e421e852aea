"""Multiplying by a value along some axes of another on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps, KeptOnDevice
from caffepy.engine.ops.cuda.totals import ChannelTotals
from caffepy.engine.ops.geometry import AxisGeometry


class CudaScale(CudaOp):
    """y = x s + b, with x seen as (outer, size, inner), s and b of `size` elements; b may be
    None."""

    family = "channels"

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._kept = KeptOnDevice(ops)
        self._totals = ChannelTotals(ops, geometry)

    @step(reads="x s b", writes="out")
    def forward(self, x: Value, s: Value, b: Value | None, *, out: Value) -> None:
        """out: like x; may be x."""
        kernel, factors = ("scale_forward", (s,)) if b is None else ("scale_bias_forward", (s, b))
        outs: tuple[Value, ...] = (out,)
        if (kept := self._kept.target(x, out)) is not None:
            kernel, outs = f"{kernel}_kept", (out, kept)
        self.launch(kernel, x.count, self.geometry.size, self.geometry.inner, x, *factors, *outs)

    @step(reads="dy s", writes="out")
    def backward_data(self, dy: Value, s: Value, *, out: Value) -> None:
        """out: gradient of x; may be dy."""
        self.launch("scale_forward", dy.count, self.geometry.size, self.geometry.inner, dy, s, out)

    @step(reads="dy x", writes="out_s", adds="add_s add_b")
    def backward_params(
        self,
        dy: Value,
        x: Value,
        *,
        out_s: Value | None = None,
        add_s: Value | None = None,
        add_b: Value | None = None,
    ) -> None:
        """out_s: gradient of s.  add_s, add_b: the gradients of s and b are added to them. x may be
        what forward wrote over it."""
        if out_s is None and add_s is None:
            self._totals.take("sum", dy)
            self._totals.give(add=add_b)
        elif add_b is None:
            self._totals.take("dot", dy, self._kept.of(x))
            self._totals.give(out=out_s, add=add_s)
        else:
            self._totals.take("sum_and_dot", dy, self._kept.of(x))
            self._totals.give(add=add_b)
            self._totals.give(1, out=out_s, add=add_s)
