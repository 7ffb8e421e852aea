"""SoftmaxCrossEntropyLoss: cross entropy of scores against class probabilities."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.probability_loss_layer import ProbabilityLossLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("SoftmaxCrossEntropyLoss")
class SoftmaxCrossEntropyLossLayer(ProbabilityLossLayer):
    """E = 1/N sum over targets t above 0 of t (log t - log p), p = softmax(x); gradient (p - t)/N.

    That is the Kullback-Leibler divergence: the cross entropy less the entropy of the targets. The
    gradient is the exact one where the targets of a position are probabilities.

    bottom[0]: (N, C, ...) scores x   bottom[1]: as many targets t   top[0]: scalar
    softmax_param: axis (1): that of the classes; engine (DEFAULT): of no effect
    loss_param: all fields: of no effect, the sum over all positions is divided by N

    Raises: ShapeError where the axis does not exist or the bottoms differ in size; NetError where
    the targets are to get a gradient, or there is a second top.
    Differs: a p of 0 counts as the smallest normal float32, about 1e-38; in the fork the loss is
    infinite there.
    Source: the fork of E. Tzeng et al., "Simultaneous deep transfer across domains and tasks",
    2015; stock Caffe does not have it.

    Example: score (8, 10), target (8, 10) -> loss ()
        layer { name: "loss" type: "SoftmaxCrossEntropyLoss"
          bottom: "score" bottom: "target" top: "loss" }
    """

    probabilities_by = "Softmax"

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        self.refuse_fork_fields(self.param.softmax_param)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.check_equal_counts(bottom)
        scores = bottom[0]
        axis = self.canonical_axis(self.param.softmax_param.axis, scores, "softmax_param.axis")
        geometry = AxisGeometry.around(scores.shape, axis)
        self.op = self.ops.soft_target_loss(geometry, scores.shape[0])
        return True
