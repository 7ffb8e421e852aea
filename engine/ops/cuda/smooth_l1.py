"""The smooth L1 loss on a GPU."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.loss_sums import Divisor, SummingOp
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry


class CudaSmoothL1Loss(SummingOp):
    """The sum of w_out f(w_in (a - b)), divided; f(d) = (sigma d)^2 / 2 where |d| < 1 / sigma^2,
    else |d| - 1 / (2 sigma^2). Weights that are None are 1."""

    family = "smooth_l1"

    def __init__(
        self, ops: DeviceOps, geometry: AxisGeometry, divisor: float, sigma: float
    ) -> None:
        """geometry: of all bottoms, its middle axis that of channels."""
        super().__init__(ops)
        self.geometry = geometry
        self.square = ops.dtype.type(sigma) ** 2
        self.divisor = Divisor(ops, divisor).arguments
        self._nowhere = self.scratch(1)  # for a gradient that nobody wants

    @step(reads="a b w_in w_out", writes="out sums")
    def forward(
        self,
        a: Value,
        b: Value,
        w_in: Value | None,
        w_out: Value | None,
        *,
        out: Value,
        sums: Value | None = None,
    ) -> None:
        """a, b, w_in, w_out: of as many elements.  out: the loss, a scalar.  sums: (outer, inner)
        elements, at each position the sum over channels, not divided."""
        terms = self._terms(a, b, w_in, w_out)
        self.launch_sum("smooth_l1_loss", a.count, *terms, divisor=self.divisor, out=out)
        if sums is not None:
            sizes = self.geometry.size, self.geometry.inner
            self.launch("smooth_l1_sums", sums.count, *sizes, *terms, sums)

    @step(reads="a b w_in w_out dloss", writes="out_a out_b")
    def backward(
        self,
        a: Value,
        b: Value,
        w_in: Value | None,
        w_out: Value | None,
        dloss: Value,
        *,
        out_a: Value | None = None,
        out_b: Value | None = None,
    ) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out_a, out_b: gradients of a and
        b, w_in w_out f'(d) weighted and its negative."""
        outs = [self._nowhere if out is None else out for out in (out_a, out_b)]
        wanted = out_a is not None, out_b is not None
        terms = self._terms(a, b, w_in, w_out)
        self.launch("smooth_l1_backward", a.count, *terms, dloss, *self.divisor, *wanted, *outs)

    def _terms(self, a: Value, b: Value, w_in: Value | None, w_out: Value | None) -> list[Any]:
        """What kernels make an element of the sum of; `a` stands for weights that are not there."""
        inside, outside = w_in is not None, w_out is not None
        return [self.square, a, b, inside, w_in or a, outside, w_out or a]
