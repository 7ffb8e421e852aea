"""Multiplying by a value along some axes of another on oneDNN."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.scale import Scale
from caffepy.engine.ops.onednn.per_channel import PerChannel, PerChannelPlans
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import source_and_target


class OneDnnScale(Op):
    """y = x s + b, with x seen as (outer, size, inner), s and b of `size` elements; b may be
    None.

    In blocked layouts of whose tensor `size` is the channels; elsewhere numpy does all passes.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self._plans = PerChannelPlans(ops.scratchpad, geometry)
        self._plan: PerChannel | None = None  # of the last forward pass; None where it was numpy's
        self._reference = Scale(ops, geometry)

    @classmethod
    def supports(cls, ops: Ops, geometry: AxisGeometry) -> bool:
        """Nothing empty."""
        return min(geometry.shape) > 0

    @step(reads="x s b", writes="out")
    def forward(self, x: Value, s: Value, b: Value | None, *, out: Value) -> None:
        """out: like x; may be x."""
        plan = self._plan = self._plans.plan_for(x)
        if plan is None:
            self._reference.forward(x, s, b, out=out)
            return
        source, target = source_and_target(x, out, plan.layout)
        bias = None if b is None else b.read()
        plan.forward(plan.kept.keep(source, target), target, s.read(), bias)

    @step(reads="dy s", writes="out")
    def backward_data(self, dy: Value, s: Value, *, out: Value) -> None:
        """out: gradient of x; may be dy."""
        plan = self._plan
        if plan is None:
            self._reference.backward_data(dy, s, out=out)
            return
        source, target = source_and_target(dy, out, plan.layout)
        plan.forward(source, target, s.read(), None)

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
        plan = self._plan
        if plan is None:
            self._reference.backward_params(dy, x, out_s=out_s, add_s=add_s, add_b=add_b)
            return
        ds, db = plan.gradients(dy.read(plan.layout), plan.kept.read(x, plan.layout))
        if out_s is not None:
            out_s.write().reshape(-1)[:] = ds
        for value, gradient in ((add_s, ds), (add_b, db)):
            if value is not None:
                total = value.modify().reshape(-1)
                total += gradient
