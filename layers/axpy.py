"""Axpy: a scaled blob plus another."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("Axpy")
class AxpyLayer(Layer):
    """z = a x + y, with one factor for each channel of each sample.

    bottom[0]: a, (N, C) or (N, C, 1, 1)   bottom[1]: x, (N, C, ...)   bottom[2]: y, like x
    top[0]: like x
    There are no fields.

    Raises: ShapeError where the shapes do not fit.
    Source: J. Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, and the fork to it.

    Example: a (2, 3), x (2, 3, 4, 4), y (2, 3, 4, 4) -> z (2, 3, 4, 4)
        layer { name: "z" type: "Axpy" bottom: "a" bottom: "x" bottom: "y" top: "z" }
    """

    bottoms = 3

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        factor, x, y = bottom
        if x.num_axes < 2 or factor.shape != x.shape[:2] + (1,) * (factor.num_axes - 2):
            self.shape_error(
                f"bottom '{factor.name}'",
                f"one factor for each sample and channel of '{x.name}' of shape {x.shape}",
                f"shape {factor.shape}",
                "Pool it to one number per channel.",
            )
        if y.shape != x.shape:
            self.shape_error(
                f"bottom '{y.name}'",
                f"shape {x.shape}, that of '{x.name}'",
                str(y.shape),
                "Make them equal.",
            )
        top[0].reshape(x.shape)
        self.scale = self.ops.scale(AxisGeometry.around(x.shape, 0, 2))
        self.sum = self.ops.eltwise_sum((1.0, 1.0))
        self.scaled = Value(x.shape, self.ops.dtype)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        factor, x, y = bottom
        self.scale.forward(x.data, factor.data, None, out=self.scaled)
        self.sum.forward((self.scaled, y.data), out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        factor, x, y = bottom
        of_factor, of_x, of_y = propagate_down
        if of_factor:
            self.scale.backward_params(
                top[0].diff, x.data, out_s=factor.diff, add_s=None, add_b=None
            )
        if of_x:
            self.scale.backward_data(top[0].diff, factor.data, out=x.diff)
        if of_y:
            self.sum.backward(top[0].diff, outs=(None, y.diff))
