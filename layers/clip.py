"""Clip: keeps each element between two limits."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Clip")
class ClipLayer(NeuronLayer):
    """y = min where x < min, max where x > max, else x; the gradient passes from min to max, both
    included.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    clip_param: min, max

    Raises: NetError where a limit is missing, or min is above max.
    Source: Caffe's layer catalogue, Clip.
    Differs: nan stays nan (Caffe makes min of it); the gradient is right in place too.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Clip" bottom: "x" top: "y" clip_param { min: 0 max: 6 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.clip_param
        for name in ("min", "max"):
            if not param.HasField(name):
                self.error(f"clip_param.{name}: expected a number, got none. Set it.")
        if not param.min <= param.max:  # nor nan
            self.error(
                f"clip_param: expected min up to max, got min {param.min:g} and max "
                f"{param.max:g}. Correct them."
            )

    def make_op(self, x: Blob) -> Any:
        return self.ops.clip(self.param.clip_param.min, self.param.clip_param.max)
