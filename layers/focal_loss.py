"""FocalLoss: cross entropy in which what is classified well counts for little."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import class_axis
from caffepy.engine.core.probability_loss_layer import ProbabilityLossLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("FocalLoss")
class FocalLossLayer(ProbabilityLossLayer):
    """E = -1/M sum of alpha (1 - p)^gamma log p, p = softmax(x)[label]; with alpha 1 and gamma 0
    SoftmaxWithLoss.

    bottom[0]: (N, C, ...) scores x   bottom[1]: (N, ...) class numbers 0 to C-1, as many as there
    are scores without the class axis   top[0]: scalar
    focal_loss_param: alpha (0.25): factor of the loss; gamma (2): how little good scores count, at
    least 0; axis (1): that of the classes; engine (DEFAULT): of no effect
    softmax_param: axis (1): the same as in focal_loss_param; engine (DEFAULT): of no effect
    loss_param: ignore_label (none): positions with it count for nothing; normalization (VALID): M
    is FULL all positions, VALID those not ignored, BATCH_SIZE the positions before the class axis,
    NONE 1, and at least 1; normalize (none): old form, true VALID, false BATCH_SIZE

    Raises: NetError where gamma is below 0, the two axes differ, or the labels are to get a
    gradient; ShapeError where the number of labels does not fit; LabelError at a label that is no
    class.
    Differs: the gradient is finite where p is 0 or 1; the fork's is not. Two different axes are
    refused, of which the fork takes one for the softmax and one for the labels.
    Source: the fork chuanqi305/FocalLoss; T.-Y. Lin et al., "Focal loss for dense object
    detection", 2017; stock Caffe does not have it.

    Example: score (2, 21, 8, 8), label (2, 1, 8, 8) -> loss ()
        layer { name: "loss" type: "FocalLoss" bottom: "score" bottom: "label" top: "loss"
          focal_loss_param { alpha: 0.25 gamma: 2 } loss_param { ignore_label: 255 } }
    """

    probabilities_by = "Softmax"

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        self.refuse_fork_fields(self.param.focal_loss_param)
        self.refuse_fork_fields(self.param.softmax_param)
        gamma = self.param.focal_loss_param.gamma
        if not gamma >= 0:
            self.error(f"focal_loss_param.gamma: expected at least 0, got {gamma:g}. Raise it.")

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        scores, labels = bottom
        param = self.param.focal_loss_param
        axis = self.canonical_axis(param.axis, scores, "focal_loss_param.axis")
        other = self.canonical_axis(self.param.softmax_param.axis, scores, "softmax_param.axis")
        if axis != other:
            self.error(
                "focal_loss_param.axis and softmax_param.axis: expected the axis of the classes in "
                f"both, got {axis} and {other}. Give both the same."
            )
        class_axis(self, scores, labels, axis, "focal_loss_param.axis")
        geometry = AxisGeometry.around(scores.shape, axis)
        self.op = self.ops.focal_loss(
            geometry,
            self.normalization(geometry.outer, geometry.inner),
            self.ignore_label,
            self.where,
            param.alpha,
            param.gamma,
        )
        return True
