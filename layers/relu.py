"""ReLU: rectified linear units."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("ReLU")
class ReLULayer(NeuronLayer):
    """y = max(x, 0) + negative_slope * min(x, 0); the gradient at 0 is negative_slope's.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    relu_param: negative_slope (0); engine (DEFAULT): of no effect

    Source: Caffe's layer catalogue, ReLU; V. Nair and G. Hinton, 2010.
    Differs: the gradient of a negative slope is right in place too.

    Example: conv1 (2, 16, 8, 8) -> conv1 (2, 16, 8, 8)
        layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
    """

    @property
    def gradient_reads(self) -> str:
        in_place = self.param.bottom[0] == self.param.top[0]
        reads_top = in_place and self.param.relu_param.negative_slope >= 0
        if not reads_top:  # but the bottom, or a copy of it
            return ""
        return "signs" if self.param.relu_param.negative_slope else "positive signs"

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        slope = self.param.relu_param.negative_slope
        if slope == 1:
            return ()
        return ("negative values",) if slope else ("values without gradient",)

    def make_op(self, x: Blob) -> Any:
        return self.ops.relu(self.param.relu_param.negative_slope)
