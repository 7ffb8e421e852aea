"""ContrastiveLoss: pulls like pairs together and pushes unlike ones apart."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer, check_pairs
from caffepy.engine.core.registry import register_layer


@register_layer("ContrastiveLoss")
class ContrastiveLossLayer(LossLayer):
    """E = 1/(2N) sum of y d^2 + (1 - y) max(margin - d, 0)^2, d the Euclidean distance of a pair.

    bottom[0], bottom[1]: (N, C) or (N, C, 1, 1), the features of the pairs
    bottom[2]: (N,) or (N, 1, 1, 1), y: 0 for an unlike pair, any other whole number for a like one
    top[0]: scalar
    contrastive_loss_param: margin (1): the distance from which unlike pairs cost nothing;
    legacy_version (false): with true max(margin - d^2, 0) for unlike pairs

    Raises: ShapeError where the bottoms do not fit.
    Differs: like Caffe's, the gradient of unlike pairs has 1e-4 added to d, to be finite at d = 0.
    Source: Caffe's layer catalogue, Contrastive Loss; R. Hadsell, S. Chopra and Y. LeCun,
    "Dimensionality reduction by learning an invariant mapping", 2006.

    Example: feat (8, 2), feat_p (8, 2), sim (8) -> loss ()
        layer { name: "loss" type: "ContrastiveLoss"
          bottom: "feat" bottom: "feat_p" bottom: "sim" top: "loss"
          contrastive_loss_param { margin: 1 } }
    """

    bottoms = 3

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        param = self.param.contrastive_loss_param
        self.op = self.ops.contrastive_loss(
            check_pairs(self, bottom), param.margin, param.legacy_version
        )
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, bottom[1].data, bottom[2].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward([False, False, propagate_down[2]], "labels have no gradient")
        outs = [
            blob.diff if wanted else None
            for blob, wanted in zip(bottom[:2], propagate_down, strict=False)
        ]
        if any(propagate_down):
            values = [blob.data for blob in bottom]
            self.op.backward(*values, top[0].diff, out_a=outs[0], out_b=outs[1])

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The features, not the labels."""
        return bottom_index != 2
