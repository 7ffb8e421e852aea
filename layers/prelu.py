"""PReLU: rectified linear units that learn the slope of their negative side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.proto.caffe_pb2 import FillerParameter


@register_layer("PReLU")
class PReLULayer(NeuronLayer):
    """y = max(x, 0) + a min(x, 0), one slope a per channel or one for all.

    bottom[0]: (N, C, ...)   top[0]: the same shape, may be the bottom
    blobs[0]: a, (C,), or a scalar when shared
    prelu_param: filler (constant 0.25): of a; channel_shared (false): one slope for all

    Raises: ShapeError where the bottom has no axis of channels, or another number of them than at
    set-up.
    Source: Caffe's layer catalogue, PReLU; K. He et al., "Delving deep into rectifiers", 2015.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "PReLU" bottom: "x" top: "y" }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.prelu_param
        if bottom[0].num_axes < 2:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                "at least 2 axes (N, C, ...)",
                f"shape {bottom[0].shape}",
                "Reshape it.",
            )
        default = FillerParameter(type="constant", value=0.25)
        self.add_parameter(
            () if param.channel_shared else bottom[0].shape[1:2],
            param.filler if param.HasField("filler") else default,
        )

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return ("negative values",)

    def make_op(self, x: Blob) -> Any:
        slopes = self.blobs[0].shape
        if x.num_axes < 2 or (slopes and x.shape[1:2] != slopes):
            self.shape_error(
                f"bottom '{x.name}'",
                f"{self.blobs[0].count} channels in axis 1, as when the slopes were made",
                f"shape {x.shape}",
                "Keep the number of channels, or share one slope: channel_shared.",
            )
        return self.ops.prelu(AxisGeometry.around(x.shape, 1, len(slopes)))

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, self.blobs[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        gradient = self.learning_diff(0)
        if gradient is not None:
            self.op.backward_params(top[0].diff, bottom[0].data, add_a=gradient)
        if propagate_down[0]:
            self.op.backward_data(
                top[0].diff, bottom[0].data, self.blobs[0].data, out=bottom[0].diff
            )
