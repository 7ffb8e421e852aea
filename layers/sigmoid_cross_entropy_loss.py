"""SigmoidCrossEntropyLoss: cross entropy of independent yes/no answers."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.probability_loss_layer import ProbabilityLossLayer
from caffepy.engine.core.registry import register_layer
from caffepy.proto.caffe_pb2 import LossParameter


@register_layer("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLossLayer(ProbabilityLossLayer):
    """E = -1/M sum of t log p + (1 - t) log(1 - p), p = 1 / (1 + exp(-x)); gradient (p - t) / M.

    bottom[0]: (N, ...) scores x   bottom[1]: as many targets t, usually 0 to 1
    top[0]: scalar
    loss_param: ignore_label (none): elements whose target, cut to an integer, is it count for
    nothing; normalization (BATCH_SIZE): M is FULL all elements, VALID those not ignored, BATCH_SIZE
    N, NONE 1, and at least 1; normalize (none): old form, true VALID, false BATCH_SIZE

    Raises: ShapeError where the bottoms differ in size; NetError where targets are to get a
    gradient, or there is a second top.
    Source: Caffe's layer catalogue, Sigmoid Cross-Entropy Loss.

    Example: score (8, 5), target (8, 5) -> loss ()
        layer { name: "loss" type: "SigmoidCrossEntropyLoss"
          bottom: "score" bottom: "target" top: "loss" }
    """

    probabilities_by = "Sigmoid"

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.check_equal_counts(bottom)
        scores = bottom[0]
        samples = scores.shape[0]
        normalization = self.normalization(
            samples, scores.count // (samples or 1), LossParameter.BATCH_SIZE
        )
        self.op = self.ops.sigmoid_loss(normalization, self.ignore_label)
        return True
