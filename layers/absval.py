"""AbsVal: the absolute value."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("AbsVal")
class AbsValLayer(NeuronLayer):
    """y = |x|; the gradient at 0 is 0.

    bottom[0]: any shape   top[0]: the same shape, not the same blob: backward needs x
    There are no fields.

    Source: Caffe's layer catalogue, Absolute Value.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "AbsVal" bottom: "x" top: "y" }
    """

    in_place_allowed = False

    def make_op(self, x: Blob) -> Any:
        return self.ops.absolute()
