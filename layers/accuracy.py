"""Accuracy: how often the label is among the best scores."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.loss import class_axis
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("Accuracy")
class AccuracyLayer(Layer):
    """The part of the positions where fewer than top_k other scores reach the score of the label.

    bottom[0]: (N, C, ...) scores   bottom[1]: (N, ...) class numbers 0 to C-1, as many as there are
    scores without the class axis   top[0]: scalar   top[1], optional: (C,) the same among the
    positions of each label, 0 where it does not occur
    accuracy_param: top_k (1); axis (1): that of the classes; ignore_label (none): positions with it
    are not counted

    A tie counts as wrong. Where all positions are ignored the accuracy is 0.

    Raises: ShapeError where the number of labels does not fit or top_k is larger than C; LabelError
    at a label that is no class.
    Differs: a score that is nan counts as better than any other, and as wrong where it is that of
    the label; in Caffe on the CPU it counts as worse, and as right.
    Source: Caffe's layer catalogue, Accuracy.

    Example: score (8, 10), label (8) -> accuracy ()
        layer { name: "accuracy" type: "Accuracy" bottom: "score" bottom: "label" top: "accuracy"
          accuracy_param { top_k: 5 } }
    """

    bottoms = 2
    tops = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self.refuse_fork_fields(self.param.accuracy_param)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        scores, labels = bottom
        param = self.param.accuracy_param
        axis = class_axis(self, scores, labels, param.axis, "accuracy_param.axis")
        geometry = AxisGeometry.around(scores.shape, axis)
        if not 1 <= param.top_k <= geometry.size:
            self.shape_error(
                "accuracy_param.top_k",
                f"1 to {geometry.size}, the number of classes in '{scores.name}'",
                str(param.top_k),
                "Change top_k.",
            )
        top[0].reshape(())
        if len(top) > 1:
            top[1].reshape((geometry.size,))
        ignore_label = param.ignore_label if param.HasField("ignore_label") else None
        self.op = self.ops.accuracy(geometry, param.top_k, ignore_label, self.where)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        per_class = top[1].data if len(top) > 1 else None
        self.op.forward(bottom[0].data, bottom[1].data, out=top[0].data, per_class=per_class)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward(propagate_down, "accuracy has no gradient")

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Never: a net with force_backward may hold this layer."""
        return False
