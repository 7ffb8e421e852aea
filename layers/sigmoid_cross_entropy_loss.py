"""SigmoidCrossEntropyLoss: cross entropy of independent yes/no answers."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Value
from caffepy.proto.caffe_pb2 import LossParameter


@register_layer("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLossLayer(LossLayer):
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
        self.probabilities = Value(scores.shape, self.ops.dtype)
        samples = scores.shape[0]
        normalization = self.normalization(
            samples, scores.count // (samples or 1), LossParameter.BATCH_SIZE
        )
        self.op = self.ops.sigmoid_loss(normalization, self.ignore_label)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, bottom[1].data, out=top[0].data, prob=self.probabilities)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_label_gradient(propagate_down)
        if propagate_down[0]:
            self.op.backward(self.probabilities, bottom[1].data, top[0].diff, out=bottom[0].diff)
