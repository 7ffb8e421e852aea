"""HingeLoss: the loss of a linear support vector machine, one against all."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer
from caffepy.engine.core.registry import register_layer
from caffepy.proto.caffe_pb2 import HingeLossParameter


@register_layer("HingeLoss")
class HingeLossLayer(LossLayer):
    """E = 1/N sum of max(0, 1 - s x), s being 1 for the class of the label and -1 for the others;
    or of the squares of that (L2).

    bottom[0]: (N, C) scores; further axes count as more classes   bottom[1]: (N,) or (N, 1, ...)
    class numbers 0 to C-1   top[0]: scalar
    hinge_loss_param: norm (L1): L1 or L2

    Raises: ShapeError where there is not one label per sample, or no class; LabelError at a label
    that is no class; NetError where the labels are to get a gradient.
    Source: Caffe's layer catalogue, Hinge Loss.
    Differs: like Caffe's, forward leaves the margins max(0, 1 - s x) in the diff of bottom[0];
    Caffe's backward needs them there, this one computes them again.

    Example: score (8, 10), label (8) -> loss ()
        layer { name: "loss" type: "HingeLoss" bottom: "score" bottom: "label" top: "loss"
          hinge_loss_param { norm: L2 } }
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        classes = self.classes_per_sample(bottom)
        squared = self.param.hinge_loss_param.norm == HingeLossParameter.L2
        self.op = self.ops.hinge_loss(bottom[0].shape[0], classes, self.where, squared)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        scores, labels = bottom
        self.op.forward(scores.data, labels.data, out=top[0].data, margins=scores.diff)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_label_gradient(propagate_down)
        if propagate_down[0]:
            self.op.backward(bottom[0].data, bottom[1].data, top[0].diff, out=bottom[0].diff)
