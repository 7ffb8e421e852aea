"""MVN: normalises each channel of each sample to mean 0 and variance 1."""

from __future__ import annotations

import math
from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("MVN")
class MVNLayer(NeuronLayer):
    """y = (x - mean) / (deviation + eps), both taken over the pixels of one channel of one sample.

    bottom[0]: (N, C, ...)   top[0]: the same shape, may be the bottom
    mvn_param: normalize_variance (true): with false y = x - mean; across_channels (false): with
    true mean and deviation are those of a whole sample; eps (1e-9)

    Source: Caffe's layer catalogue, MVN.
    Differs: more than 4 axes work, and so does the gradient in place. As in Caffe the gradient is
    that of a deviation much larger than eps.

    Example: x (2, 3, 4, 4) -> y (2, 3, 4, 4)
        layer { name: "y" type: "MVN" bottom: "x" top: "y" }
    """

    gradient_from_top = True

    @property
    def gradient_reads(self) -> str:
        return "all values" if self.param.mvn_param.normalize_variance else ""

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return "values", "signs"

    def make_op(self, x: Blob) -> Any:
        param = self.param.mvn_param
        axis = 1 if param.across_channels else 2
        rows, size = math.prod(x.shape[:axis]), math.prod(x.shape[axis:])
        return self.ops.mvn(AxisGeometry(rows, size, 1), param.normalize_variance, param.eps)
