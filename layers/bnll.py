"""BNLL: binomial normal log likelihood, a smooth kind of ReLU."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("BNLL")
class BNLLLayer(NeuronLayer):
    """y = log(1 + exp(x)); large numbers do not overflow.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    There are no fields.

    Source: Caffe's layer catalogue, BNLL.
    Differs: the gradient is right in place too.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "BNLL" bottom: "x" top: "y" }
    """

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return "values", "signs"

    def make_op(self, x: Blob) -> Any:
        return self.ops.bnll()
