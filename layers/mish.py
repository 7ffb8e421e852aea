"""Mish: a smooth rectifier."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Mish")
class MishLayer(NeuronLayer):
    """y = x tanh(log(1 + exp(x))).

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    There are no fields.

    Source: D. Misra, "Mish: a self regularized non-monotonic activation function", 2019, and the
    forks for YOLOv4 (eric612/MobileNet-YOLO, ChenYingpeng/darknet2caffe).

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Mish" bottom: "x" top: "y" }
    """

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return ("values",)

    def make_op(self, x: Blob) -> Any:
        return self.ops.mish()
