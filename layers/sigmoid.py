"""Sigmoid: the logistic function."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Sigmoid")
class SigmoidLayer(NeuronLayer):
    """y = 1 / (1 + exp(-x)).

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    sigmoid_param.engine is of no effect.

    Source: Caffe's layer catalogue, Sigmoid.
    """

    gradient_from_top = True

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return "values", "signs"

    def make_op(self, x: Blob) -> Any:
        return self.ops.sigmoid()
