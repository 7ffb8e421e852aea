"""Sigmoid: the logistic function."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Sigmoid")
class SigmoidLayer(NeuronLayer):
    """y = 1 / (1 + exp(-x)).

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    sigmoid_param: engine (DEFAULT): of no effect

    Source: Caffe's layer catalogue, Sigmoid.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Sigmoid" bottom: "x" top: "y" }
    """

    gradient_from_top = True

    @property
    def gradient_reads(self) -> str:
        return "positive values"

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return "values", "signs"

    def make_op(self, x: Blob) -> Any:
        return self.ops.sigmoid()
