"""Mean-variance normalisation on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.normalise import NormaliseOp
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry


class CudaMvn(NormaliseOp):
    """(x - mean) / (deviation + eps), or x - mean only, for each row of x as (outer, size)."""

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry, variance: bool, eps: float) -> None:
        """variance: whether to divide."""
        super().__init__(ops, 1, geometry.outer, geometry.size * geometry.inner)
        self.variance = variance
        self.eps = eps

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._by_own_statistics(x, out)

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, (dy - mean(dy) - y mean(dy y)) / (deviation + eps), or
        dy - mean(dy); may be dy. y: what forward wrote."""
        if not self.variance:
            self._by_own_statistics(dy, out)
        elif dy.count:
            self.normalise_backward(dy, y, out, normal=True)

    def _by_own_statistics(self, x: Value, out: Value) -> None:
        if x.count:
            self.find_statistics("mean_and_deviation", x, (self.eps, self.variance))
            self.normalise(x, out)
