"""Softmax: scores as probabilities."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("Softmax")
class SoftmaxLayer(NeuronLayer):
    """y = exp(x) / sum(exp(x)), the sum along `axis`.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    softmax_param: axis (1): negative ones count from the end; engine (DEFAULT): of no effect

    Raises: ShapeError where the axis does not exist.
    Source: Caffe's layer catalogue, Softmax.

    Example: score (8, 10) -> prob (8, 10)
        layer { name: "prob" type: "Softmax" bottom: "score" top: "prob" }
    """

    gradient_from_top = True

    @property
    def gradient_reads(self) -> str:
        return "positive values"

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return "values", "signs"

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self.refuse_fork_fields(self.param.softmax_param)

    def make_op(self, x: Blob) -> Any:
        axis = self.canonical_axis(self.param.softmax_param.axis, x, "softmax_param.axis")
        return self.ops.softmax(AxisGeometry.around(x.shape, axis))
