"""Multiplying by a value along some axes of another on a GPU."""

from __future__ import annotations

from collections.abc import Callable

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps, KeptOnDevice
from caffepy.engine.ops.cuda.rectified import with_relu
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
        self._make_input: Callable[[Value], None] | None = None
        self._totals = ChannelTotals(ops, geometry)

    @step(reads="x s b", writes="out")
    def forward(self, x: Value, s: Value, b: Value | None, *, out: Value) -> None:
        """out: like x; may be x."""
        self.rectified_forward(1.0, x, s, b, out=out)

    def merged(self, step: Step, after: Step) -> Step | None:
        """ReLU in place."""
        return with_relu(self, step, after)

    def rectified_forward(
        self, slope: float, x: Value, s: Value, b: Value | None, *, out: Value
    ) -> None:
        """`forward` and ReLU."""
        self._make_input = None
        kernel, factors = ("scale_forward", (s,)) if b is None else ("scale_bias_forward", (s, b))
        outs: tuple[Value, ...] = (out,)
        if (kept := self._kept.target(x, out)) is not None:
            kernel, outs = f"{kernel}_kept", (out, kept)
        sizes = x.count, self.geometry.size, self.geometry.inner
        self.launch(kernel, *sizes, slope, x, *factors, *outs)

    @step(reads="dy s", writes="out")
    def backward_data(self, dy: Value, s: Value, *, out: Value) -> None:
        """out: gradient of x; may be dy."""
        sizes = dy.count, self.geometry.size, self.geometry.inner
        self.launch("scale_forward", *sizes, 1.0, dy, s, out)

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
            self._totals.take("dot", dy, self._input(x))
            self._totals.give(out=out_s, add=add_s)
        else:
            self._totals.take("sum_and_dot", dy, self._input(x))
            self._totals.give(add=add_b)
            self._totals.give(1, out=out_s, add=add_s)

    def kept_for(self, x: Value, out: Value) -> Value | None:
        """Where what is done in place of `forward` may leave x; None where it stays."""
        self._make_input = None
        return self._kept.target(x, out)

    def missed(self, make_input: Callable[[Value], None]) -> None:
        """Something else did what `forward` does in place. make_input: writes what it read."""
        self._make_input = make_input

    def _input(self, x: Value) -> Value:
        """What the last forward pass read, given the value that held it."""
        if self._make_input is None:
            return self._kept.of(x)
        kept = self._kept.target(x, x)
        assert kept is not None, "x is its own result"
        self._make_input(kept)
        return kept
