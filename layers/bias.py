"""Bias: adds a blob along some axes of another."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.factor import fitting_axis, spanned
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("Bias")
class BiasLayer(Layer):
    """y = x + b, with b repeated along the axes it does not have.

    bottom[0]: any shape   bottom[1], or blobs[0] where there is none: b, its axes those of
    bottom[0] from `axis` on, or a scalar   top[0]: like bottom[0], may be bottom[0]
    bias_param: axis (1): the axis of bottom[0] at which b begins; num_axes (1): the axes of
    blobs[0], -1 all from `axis` on, 0 a scalar; filler (constant 0): of blobs[0]

    Raises: ShapeError where the axes do not exist or sizes differ.
    Source: Caffe's layer catalogue, Bias.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Bias" bottom: "x" top: "y" }
    """

    bottoms = (1, 2)
    in_place_allowed = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        if len(bottom) == 1:
            param = self.param.bias_param
            self.add_parameter(spanned(self, bottom[0], param.axis, param.num_axes), param.filler)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        shape = bottom[1].shape if len(bottom) > 1 else self.blobs[0].shape
        axis = fitting_axis(self, bottom[0], self.param.bias_param.axis, shape)
        top[0].reshape(bottom[0].shape)
        self.op = self.ops.bias(AxisGeometry.around(bottom[0].shape, axis, len(shape)))
        self.copy = self.ops.sum()
        return True

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return "values", "signs"

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        bias = bottom[1] if len(bottom) > 1 else self.blobs[0]
        self.op.forward(bottom[0].data, bias.data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        out = bottom[1].diff if len(bottom) > 1 and propagate_down[1] else None
        add_b = self.learning_diff(0)
        if out is not None or add_b is not None:
            self.op.backward_bias(top[0].diff, out=out, add_b=add_b)
        if propagate_down[0] and bottom[0] is not top[0]:
            self.copy.forward([top[0].diff], out=bottom[0].diff)
