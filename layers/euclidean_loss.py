"""EuclideanLoss: half the squared distance, for regression."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer
from caffepy.engine.core.registry import register_layer


@register_layer("EuclideanLoss")
class EuclideanLossLayer(LossLayer):
    """E = 1/(2N) sum of (a - b)^2; both bottoms get a gradient, (a - b)/N and its negative.

    bottom[0], bottom[1]: (N, ...), as many elements each   top[0]: scalar
    There are no fields.

    Raises: ShapeError where the bottoms differ in size.
    Source: Caffe's layer catalogue, Euclidean Loss.

    Example: pred (8, 2), target (8, 2) -> loss ()
        layer { name: "loss" type: "EuclideanLoss" bottom: "pred" bottom: "target" top: "loss" }
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.check_equal_counts(bottom)
        self.op = self.ops.euclidean_loss(bottom[0].shape[0])
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, bottom[1].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        outs = [
            blob.diff if wanted else None
            for blob, wanted in zip(bottom, propagate_down, strict=True)
        ]
        if any(propagate_down):
            self.op.backward(
                bottom[0].data, bottom[1].data, top[0].diff, out_a=outs[0], out_b=outs[1]
            )

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Both bottoms: neither is a label."""
        return True
