"""ReLU: rectified linear units."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("ReLU")
class ReLULayer(NeuronLayer):
    """y = max(x, 0) + negative_slope * min(x, 0); the gradient at 0 is negative_slope's.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    relu_param.negative_slope: float, default 0

    Source: Caffe's layer catalogue, ReLU; V. Nair and G. Hinton, 2010.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.op = self.ops.relu(self.param.relu_param.negative_slope)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, bottom[0].data, out=bottom[0].diff)
