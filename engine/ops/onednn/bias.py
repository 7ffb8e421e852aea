"""Adding a value along some axes of another on oneDNN."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.bias import Bias
from caffepy.engine.ops.onednn.per_channel import PerChannel, PerChannelPlans
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import source_and_target


class OneDnnBias(Op):
    """y = x + b, with x seen as (outer, size, inner) and b of `size` elements.

    In blocked layouts of whose tensor `size` is the channels; elsewhere numpy does all passes.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._plans = PerChannelPlans(ops.scratchpad, geometry)
        self._plan: PerChannel | None = None  # of the last forward pass; None where it was numpy's
        self._reference = Bias(ops, geometry)

    @classmethod
    def supports(cls, ops: Ops, geometry: AxisGeometry) -> bool:
        """Nothing empty."""
        return min(geometry.shape) > 0

    @step(reads="x b", writes="out")
    def forward(self, x: Value, b: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        plan = self._plan = self._plans.plan_for(x)
        if plan is None:
            self._reference.forward(x, b, out=out)
            return
        plan.forward(*source_and_target(x, out, plan.layout), None, b.read())

    @step(reads="dy", writes="out", adds="add_b")
    def backward_bias(
        self, dy: Value, *, out: Value | None = None, add_b: Value | None = None
    ) -> None:
        """out: gradient of b.  add_b: the same is added to it."""
        plan = self._plan
        if plan is None:
            self._reference.backward_bias(dy, out=out, add_b=add_b)
            return
        array = dy.read(plan.layout)
        _, gradient = plan.gradients(array, array)
        if out is not None:
            out.write().reshape(-1)[:] = gradient
        if add_b is not None:
            total = add_b.modify().reshape(-1)
            total += gradient
