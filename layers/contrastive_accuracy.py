"""ContrastiveAccuracy: how many pairs a siamese net tells right."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.loss import check_pairs
from caffepy.engine.core.registry import register_layer


@register_layer("ContrastiveAccuracy")
class ContrastiveAccuracyLayer(Layer):
    """The part of pairs for which (Euclidean distance < margin) equals (sim == 1).

    bottom[0], bottom[1]: (N, C) or (N, C, 1, 1), the features of the pairs
    bottom[2]: (N,) or (N, 1, ...), sim, compared as floats: 1 for a like pair
    top[0]: scalar, 0 to 1
    contrastive_accuracy_param: margin (1): the distance below which a pair counts as like

    There is no gradient; the accuracy of no pairs is 0.

    Raises: ShapeError where the bottoms do not fit.
    Source: the layer of that name in a fork of Caffe, made to go with ContrastiveLoss.

    Example: feat (8, 2), feat_p (8, 2), sim (8) -> accuracy ()
        layer { name: "accuracy" type: "ContrastiveAccuracy"
          bottom: "feat" bottom: "feat_p" bottom: "sim" top: "accuracy" }
    """

    bottoms = 3

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        top[0].reshape(())
        margin = self.param.contrastive_accuracy_param.margin
        self.op = self.ops.contrastive_accuracy(check_pairs(self, bottom), margin)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, bottom[1].data, bottom[2].data, out=top[0].data)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Nothing gets a gradient from an accuracy."""
        return False
