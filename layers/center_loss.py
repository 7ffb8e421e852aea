"""CenterLoss: pulls features towards the centre of their class."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer
from caffepy.engine.core.registry import register_layer


@register_layer("CenterLoss")
class CenterLossLayer(LossLayer):
    """E = 1/(2N) sum of |x - c[label]|^2, c the learnt centres of the classes.

    bottom[0]: (N, ...) features x, K of a sample   bottom[1]: (N,) or (N, 1, 1, 1) class numbers
    top[0]: scalar
    blobs[0]: (num_output, K), the centres
    center_loss_param: num_output: classes; center_filler (constant 0): fills the centres; axis (1):
    the first axis of the features; distance_type (L2): L2 only

    What backward gives the centre of a class as gradient is the sum of c - x over its n samples in
    the batch, divided by n + 1 and not by N, whatever the loss weight: with lr_mult times the
    learning rate the layer's alpha, the centres move as in the paper.
    Without a `loss_weight` the weight is 0, of which the log warns.

    Raises: NetError where num_output is missing or the labels are to get a gradient; ShapeError
    where there is not one label per sample, or features change their number; LabelError at a label
    that is no class.
    Differs: the fork reads beyond its memory at a label that is no class.
    Source: the fork ydwen/caffe-face; Y. Wen et al., "A discriminative feature learning approach
    for deep face recognition", 2016; stock Caffe does not have it.

    Example: feature (8, 64), label (8) -> loss ()
        layer { name: "loss" type: "CenterLoss" bottom: "feature" bottom: "label" top: "loss"
          loss_weight: 0.008 param { lr_mult: 1 decay_mult: 0 }
          center_loss_param { num_output: 10 center_filler { type: "xavier" } } }
    """

    has_default_weight = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        param = self.param.center_loss_param
        self.refuse_fork_fields(param, others=("distance_type",))
        if param.num_output == 0:
            self.error("center_loss_param.num_output: expected at least 1, got 0. Set it.")
        self.size = self._features(bottom)
        self.add_parameter((param.num_output, self.size), param.center_filler)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.check_one_label_each(bottom)
        size = self._features(bottom)
        if size != self.size:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                f"{self.size} features of a sample, as when the centres were made",
                f"{size} in shape {bottom[0].shape}",
                "Keep the number of features fixed.",
            )
        classes = self.param.center_loss_param.num_output
        samples, weight = bottom[0].shape[0], self.loss_weight(0)
        self.op = self.ops.center_loss(samples, classes, size, self.where, weight)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        features, labels = bottom
        self.op.forward(features.data, labels.data, self.blobs[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_label_gradient(propagate_down)
        values = bottom[0].data, bottom[1].data, self.blobs[0].data, top[0].diff
        add_c = self.learning_diff(0)
        if add_c is not None:
            self.op.backward_params(*values, add_c=add_c)
        if propagate_down[0]:
            self.op.backward_data(*values, out=bottom[0].diff)

    def _features(self, bottom: Blobs) -> int:
        """K. Raises: ShapeError where axes between the samples and the features have more."""
        features = bottom[0]
        axis = self.canonical_axis(
            self.param.center_loss_param.axis, features, "center_loss_param.axis"
        )
        if axis == 0 or math.prod(features.shape[1:axis]) != 1:
            self.shape_error(
                f"center_loss_param.axis {axis}",
                f"1, the axis after the samples of '{features.name}'",
                f"{axis} for its shape {features.shape}",
                "Set center_loss_param.axis to 1.",
            )
        return math.prod(features.shape[axis:])
