"""SoftmaxWithLossOHEM: the softmax loss, and that of each position by itself."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossNormalization, class_axis
from caffepy.engine.core.probability_loss_layer import ProbabilityLossLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("SoftmaxWithLossOHEM")
class SoftmaxWithLossOHEMLayer(ProbabilityLossLayer):
    """E = -1/M sum of log(softmax(x)[label]); its gradient is (softmax(x) - 1 at the label) / M.

    bottom[0]: (N, C, ...) scores   bottom[1]: (N, ...) class numbers 0 to C-1, as many as there are
    scores without the class axis
    top[0]: scalar   top[1]: like bottom[0], may be left out: the probabilities   top[2]: like
    bottom[1], may be left out: the loss at each position, not divided, 0 where it is ignored; no
    gradient comes back from these two
    softmax_param: axis (1): that of the classes; engine (DEFAULT): of no effect
    loss_param: ignore_label (none): positions with it count for nothing; normalization (VALID): M
    is FULL all positions, VALID those not ignored, BATCH_SIZE the positions before the class axis,
    NONE 1, PRE_FIXED pre_fixed_normalizer, and at least 1; pre_fixed_normalizer (1): see there;
    normalize (none): old form, true VALID, false BATCH_SIZE

    Raises: ShapeError where the number of labels does not fit; LabelError at a label that is no
    class; NetError where the labels are to get a gradient, or another top has a loss weight.
    Source: J. Dai et al., "R-FCN", NIPS 2016, and the fork to it.

    Example: score (8, 21), label (8) -> loss (), prob (8, 21), per_region (8)
        layer { name: "loss" type: "SoftmaxWithLossOHEM" bottom: "score" bottom: "label"
          top: "loss" top: "prob" top: "per_region"
          loss_weight: 1 loss_weight: 0 loss_weight: 0 loss_param { ignore_label: -1 } }
    """

    tops = (1, 3)
    normalizations = (*LossNormalization.MODES, "PRE_FIXED")

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        self.refuse_fork_fields(self.param.softmax_param)
        self.refuse_other_losses()

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
        self.copy = self.ops.sum()
        for blob, like in zip(top[1:], bottom):
            blob.reshape(like.shape)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        super().forward(bottom, top)
        for prob in top[1:2]:
            self.copy.forward([self.probabilities], out=prob.data)
        for losses in top[2:]:
            self.op.forward_positions(self.probabilities, bottom[1].data, out=losses.data)
