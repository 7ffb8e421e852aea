"""Softmax: scores as probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, NeuronLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("Softmax")
class SoftmaxLayer(NeuronLayer):
    """y = exp(x) / sum(exp(x)), the sum along `axis`.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    softmax_param.axis: int, default 1; negative ones count from the end

    Raises: ShapeError where the axis does not exist.
    Source: Caffe's layer catalogue, Softmax.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self.refuse_fork_fields(self.param.softmax_param)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        axis = self.canonical_axis(self.param.softmax_param.axis, bottom[0], "softmax_param.axis")
        self.op = self.ops.softmax(AxisGeometry.around(bottom[0].shape, axis))
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, top[0].data, out=bottom[0].diff)
