"""Threshold: tells which elements are above a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Threshold")
class ThresholdLayer(NeuronLayer):
    """y = 1 where x > threshold, else 0. It has no gradient.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    threshold_param: threshold (0)

    Raises: NetError where the bottom is to get a gradient.
    Source: Caffe's layer catalogue, Threshold.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Threshold" bottom: "x" top: "y"
          threshold_param { threshold: 0.5 } }
    """

    def make_op(self, x: Blob) -> Any:
        return self.ops.threshold(self.param.threshold_param.threshold)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward(propagate_down, "a threshold has no gradient")

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Never: a net with force_backward may hold this layer."""
        return False
