"""MultinomialLogisticLoss: cross entropy of probabilities against class labels."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer
from caffepy.engine.core.registry import register_layer


@register_layer("MultinomialLogisticLoss")
class MultinomialLogisticLossLayer(LossLayer):
    """E = -1/N sum of log(max(p[label], 1e-20)), for probabilities p that a Softmax layer made.

    bottom[0]: (N, C) probabilities; further axes count as more classes   bottom[1]: (N,) or
    (N, 1, ...) class numbers 0 to C-1   top[0]: scalar
    There are no fields.

    SoftmaxWithLoss is the same with the Softmax in it, and more exact.

    Raises: ShapeError where there is not one label per sample, or no class; LabelError at a label
    that is no class; NetError where the labels are to get a gradient.
    Source: Caffe's layer catalogue, Multinomial Logistic Loss.

    Example: prob (8, 10), label (8) -> loss ()
        layer { name: "loss" type: "MultinomialLogisticLoss"
          bottom: "prob" bottom: "label" top: "loss" }
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        classes = self.classes_per_sample(bottom)
        self.op = self.ops.logistic_loss(bottom[0].shape[0], classes, self.where)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, bottom[1].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_label_gradient(propagate_down)
        if propagate_down[0]:
            self.op.backward(bottom[0].data, bottom[1].data, top[0].diff, out=bottom[0].diff)
