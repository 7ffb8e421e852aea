"""TripletLoss: pulls a sample towards one of its class and away from one of another."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer, check_features
from caffepy.engine.core.registry import register_layer


@register_layer("TripletLoss")
class TripletLossLayer(LossLayer):
    """E = 1/(2N) sum of max(0, margin + |a - p|^2 - |a - n|^2).

    bottom[0], bottom[1], bottom[2]: (N, C) or (N, C, 1, 1), the features of the anchors a, of
    samples p of the same classes, and of samples n of other classes
    top[0]: scalar
    triplet_loss_param: margin (1): by how much n must be farther from a than p to cost nothing, in
    squared distances

    Raises: ShapeError where the bottoms do not fit.
    Source: the fork happynear/caffe-windows; F. Schroff, D. Kalenichenko and J. Philbin, "FaceNet:
    A unified embedding for face recognition and clustering", 2015; stock Caffe does not have it.

    Example: anchor (8, 128), like (8, 128), unlike (8, 128) -> loss ()
        layer { name: "loss" type: "TripletLoss"
          bottom: "anchor" bottom: "like" bottom: "unlike" top: "loss"
          triplet_loss_param { margin: 0.2 } }
    """

    bottoms = 3

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        samples = check_features(self, bottom)
        self.op = self.ops.triplet_loss(samples, self.param.triplet_loss_param.margin)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(*(blob.data for blob in bottom), out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if any(propagate_down):
            outs = [
                blob.diff if wanted else None
                for blob, wanted in zip(bottom, propagate_down, strict=True)
            ]
            values = [blob.data for blob in bottom]
            self.op.backward(*values, top[0].diff, out_a=outs[0], out_p=outs[1], out_n=outs[2])

    def allow_force_backward(self, bottom_index: int) -> bool:
        """All bottoms are features."""
        return True
