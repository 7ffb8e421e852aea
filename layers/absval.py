"""AbsVal: the absolute value."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("AbsVal")
class AbsValLayer(NeuronLayer):
    """y = |x|; the gradient at 0 is 0.

    bottom[0]: any shape   top[0]: the same shape, not the same blob: backward needs x

    Source: Caffe's layer catalogue, Absolute Value.
    """

    in_place_allowed = False

    def make_op(self, x: Blob) -> Any:
        return self.ops.absolute()
