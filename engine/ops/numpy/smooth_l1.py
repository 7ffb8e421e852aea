"""The smooth L1 loss on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import HostOps, ScratchOp


class SmoothL1Loss(ScratchOp):
    """The sum of w_out f(w_in (a - b)), divided; f(d) = (sigma d)^2 / 2 where |d| < 1 / sigma^2,
    else |d| - 1 / (2 sigma^2). Weights that are None are 1."""

    def __init__(self, ops: HostOps, geometry: AxisGeometry, divisor: float, sigma: float) -> None:
        """geometry: of all bottoms, its middle axis that of channels."""
        super().__init__(ops)
        self.geometry = geometry
        self.divisor = ops.dtype.type(divisor)
        self.square = ops.dtype.type(sigma) ** 2

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
        size = self._difference(a, b, w_in)
        np.abs(size, out=size)
        bent = np.minimum(size, 1 / self.square, out=self.take("bent", size.shape))
        size -= bent / 2
        size *= bent
        size *= self.square
        if w_out is not None:
            size *= w_out.read().reshape(-1)
        out.write()[...] = size.sum() / self.divisor
        if sums is not None:
            errors = size.reshape(self.geometry.shape)
            errors.sum(axis=1, out=sums.write().reshape(self.geometry.outer, self.geometry.inner))

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
        slope = self._difference(a, b, w_in)
        slope *= self.square
        np.clip(slope, -1, 1, out=slope)
        for weight in (w_in, w_out):
            if weight is not None:
                slope *= weight.read().reshape(-1)
        share = dloss.read() / self.divisor
        for out, sign in ((out_a, 1), (out_b, -1)):
            if out is not None:
                np.multiply(slope, sign * share, out=out.write().reshape(-1))

    def _difference(self, a: Value, b: Value, w_in: Value | None) -> np.ndarray:
        """w_in (a - b), flat; an array to be changed."""
        found = self.take("difference", (a.count,))
        np.subtract(a.read().reshape(-1), b.read().reshape(-1), out=found)
        if w_in is not None:
            found *= w_in.read().reshape(-1)
        return found
