"""Multiplying by a value along some axes of another on oneDNN."""

from __future__ import annotations

from collections.abc import Callable

from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.scale import Scale
from caffepy.engine.ops.onednn.per_channel import PerChannel, PerChannelPlans
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import Kept, source_and_target


class OneDnnScale(Op):
    """y = x s + b, with x seen as (outer, size, inner), s and b of `size` elements; b may be
    None.

    In blocked layouts of whose tensor `size` is the channels; elsewhere numpy does all passes.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._plans = PerChannelPlans(ops.scratchpad, geometry)
        self._plan: PerChannel | None = None  # of the last forward pass; None where it was numpy's
        self._kept = Kept(ops.scratchpad)
        self._missed: tuple[Value, Callable[[Value], None]] | None = None
        self._caught_up = False  # once, and so probably in each iteration
        self._reference = Scale(ops, geometry)

    @classmethod
    def supports(cls, ops: Ops, geometry: AxisGeometry) -> bool:
        """Nothing empty."""
        return min(geometry.shape) > 0

    @step(reads="x s b", writes="out")
    def forward(self, x: Value, s: Value, b: Value | None, *, out: Value) -> None:
        """out: like x; may be x."""
        self._missed = None
        plan = self._plan = self._plans.plan_for(x)
        source = self._kept.keep(x, out, PLAIN if plan is None else plan.layout)
        if plan is None:
            self._reference.forward(source, s, b, out=out)
            return
        bias = None if b is None else b.read()
        plan.forward(source.read(plan.layout), out.write(plan.layout), s.read(), bias)

    @step(reads="dy s", writes="out")
    def backward_data(self, dy: Value, s: Value, *, out: Value) -> None:
        """out: gradient of x; may be dy."""
        self._catch_up()
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
        self._catch_up()
        plan, original = self._plan, self._kept.original(x)
        if plan is None:
            self._reference.backward_params(dy, original, out_s=out_s, add_s=add_s, add_b=add_b)
            return
        ds, db = plan.gradients(dy.read(plan.layout), original.read(plan.layout))
        if out_s is not None:
            out_s.write().reshape(-1)[:] = ds
        for value, gradient in ((add_s, ds), (add_b, db)):
            if value is not None:
                total = value.modify().reshape(-1)
                total += gradient

    def missed(self, y: Value, make_input: Callable[[Value], None]) -> None:
        """After another op did the work of a forward pass in place on y.

        make_input: writes what was its input into a value, for a backward pass of this op.
        """
        self._missed = y, make_input
        if not self._caught_up and self._kept.drop():
            self.ops.let_go()

    @property
    def behind(self) -> bool:
        """Whether another op did the work of the last forward pass, and nobody has asked for what
        this one would have left."""
        return self._missed is not None

    def _catch_up(self) -> None:
        """Finds what a forward pass of its own would have left."""
        if self._missed is not None:
            y, make_input = self._missed
            self._missed, self._caught_up = None, True
            x = self._kept.take(y)
            make_input(x)
            self._plan = self._plans.plan_for(x)
