"""Log: the logarithm of a linear function of each element."""

from __future__ import annotations

import math
from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Log")
class LogLayer(NeuronLayer):
    """y = the logarithm of shift + scale x to the base; -inf where that is 0, nan below.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    log_param: base (-1): -1 means e; scale (1); shift (0)

    Raises: NetError where base is neither above 0 nor -1, or is 1; or where scale is 0 and shift
    not above 0.
    Source: Caffe's layer catalogue, Log.
    Differs: the gradient is right in place too.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Log" bottom: "x" top: "y" log_param { shift: 1 } }
    """

    not_finite_where = "the logarithm is taken of 0 or of a negative number"

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.log_param
        if param.base != -1 and (not 0 < param.base < math.inf or param.base == 1):
            self.error(
                "log_param.base: expected a number above 0 other than 1, or -1 for e, got "
                f"{param.base:g}. Change it."
            )
        if param.scale == 0 and param.shift <= 0:
            self.error(
                f"log_param: expected a shift above 0 where scale is 0, got {param.shift:g}. "
                "Change one of them."
            )

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return "values", "signs"

    def make_op(self, x: Blob) -> Any:
        param = self.param.log_param
        base = math.e if param.base == -1 else param.base
        return self.ops.log(base, param.scale, param.shift)
