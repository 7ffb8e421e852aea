"""Exp: a base raised to a linear function of each element."""

from __future__ import annotations

import math
from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Exp")
class ExpLayer(NeuronLayer):
    """y = base^(shift + scale x).

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    exp_param: base (-1): -1 means e; scale (1); shift (0)

    Raises: NetError where base is neither above 0 nor -1.
    Source: Caffe's layer catalogue, Exp.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Exp" bottom: "x" top: "y" exp_param { base: 2 } }
    """

    gradient_from_top = True
    not_finite_where = "the power is too large for a number"

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        base = self.param.exp_param.base
        if base != -1 and not 0 < base < math.inf:
            self.error(
                f"exp_param.base: expected a number above 0, or -1 for e, got {base:g}. Change it."
            )

    @property
    def gradient_reads(self) -> str:
        return "positive values"

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return "values", "signs"

    def make_op(self, x: Blob) -> Any:
        param = self.param.exp_param
        base = math.e if param.base == -1 else param.base
        return self.ops.exp(base, param.scale, param.shift)
