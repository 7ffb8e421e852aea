"""ContrastiveAccuracy: how many pairs a siamese net tells right."""

from __future__ import annotations

import math

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("ContrastiveAccuracy")
class ContrastiveAccuracyLayer(Layer):
    """The part of pairs for which (Euclidean distance < margin) equals (sim == 1).

    bottom[0], bottom[1]: (N, C) or (N, C, 1, 1), the features of the pairs, N and C at least 1
    bottom[2]: (N,) or (N, 1, ...), sim, compared as floats: 1 for a like pair
    top[0]: scalar, 0 to 1
    contrastive_accuracy_param: margin (1): the distance below which a pair counts as like

    There is no gradient.

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
        shape = bottom[0].shape
        flat = len(shape) >= 2 and math.prod(shape[2:]) == 1
        if not flat or bottom[1].shape != shape or not bottom[0].count:
            self.shape_error(
                f"bottoms '{bottom[0].name}' and '{bottom[1].name}'",
                "one shape (N, C) for both",
                f"{shape} and {bottom[1].shape}",
                "Flatten the features of a sample into one axis, equally long in both.",
            )
        if bottom[2].shape[:1] != shape[:1] or bottom[2].count != shape[0]:
            self.shape_error(
                f"bottom '{bottom[2].name}'",
                f"one label per pair, shape ({shape[0]},)",
                f"shape {bottom[2].shape}",
                "Give every pair its label.",
            )
        top[0].reshape(())
        margin = self.param.contrastive_accuracy_param.margin
        self.op = self.ops.contrastive_accuracy(shape[0], margin)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, bottom[1].data, bottom[2].data, out=top[0].data)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Nothing gets a gradient from an accuracy."""
        return False
