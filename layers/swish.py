"""Swish: each element times its sigmoid."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Swish")
class SwishLayer(NeuronLayer):
    """y = x / (1 + exp(-beta x)).

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    swish_param: beta (1)

    Source: Caffe's layer catalogue, Swish; P. Ramachandran et al., "Searching for activation
    functions", 2017.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Swish" bottom: "x" top: "y" }
    """

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return ("values",)

    def make_op(self, x: Blob) -> Any:
        return self.ops.swish(self.param.swish_param.beta)
