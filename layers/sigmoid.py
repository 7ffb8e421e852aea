"""Sigmoid: the logistic function."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Sigmoid")
class SigmoidLayer(NeuronLayer):
    """y = 1 / (1 + exp(-x)).

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    sigmoid_param.engine is of no effect.

    Source: Caffe's layer catalogue, Sigmoid.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.op = self.ops.sigmoid()
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, top[0].data, out=bottom[0].diff)
