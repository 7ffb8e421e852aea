"""SmoothL1Layer: the base of layers with the smooth L1 loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer
from caffepy.engine.core.value import Value


class SmoothL1Layer(LossLayer):
    """A loss with bottoms a, b and, where they are given, w_in and w_out, of as many elements each.

    In `reshape` a layer sets `op`. Weights get no gradient: where they need one it is 0, as nets of
    Faster R-CNN make them of what their own layers propose.
    """

    op: Any  # that of ops.smooth_l1_loss

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        """Raises: ShapeError where the bottoms differ in size."""
        if not super().reshape(bottom, top):
            return False
        for other in bottom[1:]:
            self.check_equal_counts((bottom[0], other))
        self.no_gradient = self.ops.fill(0.0)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        a, b, w_in, w_out = _operands(bottom)
        sums = top[1].data if len(top) > 1 else None
        self.op.forward(a, b, w_in, w_out, out=top[0].data, sums=sums)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        outs = [
            blob.diff if wanted else None
            for blob, wanted in zip(bottom, propagate_down, strict=True)
        ]
        if any(propagate_down[:2]):
            a, b, w_in, w_out = _operands(bottom)
            self.op.backward(a, b, w_in, w_out, top[0].diff, out_a=outs[0], out_b=outs[1])
        for out in outs[2:]:
            if out is not None:
                self.no_gradient.forward(out=out)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """What is compared, not the weights."""
        return bottom_index < 2


def _operands(bottom: Blobs) -> tuple[Value, Value, Value | None, Value | None]:
    """a, b, w_in and w_out."""
    a, b, *weights = (blob.data for blob in bottom)
    w_in, w_out = (*weights, None, None)[:2]
    return a, b, w_in, w_out
