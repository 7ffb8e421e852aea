"""SoftmaxWithLoss: cross entropy of the softmax of scores against class labels."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import class_axis
from caffepy.engine.core.probability_loss_layer import ProbabilityLossLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("SoftmaxWithLoss")
class SoftmaxWithLossLayer(ProbabilityLossLayer):
    """E = -1/M sum of log(softmax(x)[label]); its gradient is (softmax(x) - 1 at the label) / M.

    bottom[0]: (N, C, ...) scores   bottom[1]: (N, ...) class numbers 0 to C-1, as many as there are
    scores without the class axis   top[0]: scalar
    softmax_param: axis (1): that of the classes; engine (DEFAULT): of no effect
    loss_param: ignore_label (none): positions with it count for nothing; normalization (VALID): M
    is FULL all positions, VALID those not ignored, BATCH_SIZE the positions before the class axis,
    NONE 1, and at least 1; normalize (none): old form, true VALID, false BATCH_SIZE

    Raises: ShapeError where the number of labels does not fit; LabelError at a label that is no
    class; NetError where the labels are to get a gradient, or there is a second top: Caffe's
    catalogue has one, the probabilities, but Caffe 1.0 refuses every net that asks for it.
    Differs: Caffe reads beyond its memory at a label that is no class.
    Source: Caffe's layer catalogue, Softmax with Loss.

    Example: score (2, 21, 8, 8), label (2, 1, 8, 8) -> loss ()
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
          loss_param { ignore_label: 255 } }
    """

    probabilities_by = "Softmax"

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        self.refuse_fork_fields(self.param.softmax_param)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        scores, labels = bottom
        axis = class_axis(self, scores, labels, self.param.softmax_param.axis, "softmax_param.axis")
        geometry = AxisGeometry.around(scores.shape, axis)
        self.op = self.ops.softmax_loss(
            geometry,
            self.normalization(geometry.outer, geometry.inner),
            self.ignore_label,
            self.where,
        )
        return True
