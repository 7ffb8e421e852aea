"""Power: a power of a linear function of each element."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Power")
class PowerLayer(NeuronLayer):
    """y = (shift + scale x)^power. Where power or scale is 0, y is constant and has no gradient.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    power_param: power (1), scale (1), shift (0). A fractional power of a negative number is nan.

    Raises: NetError where scale is 0 and shift^power is no finite number.
    Source: Caffe's layer catalogue, Power.
    Differs: the gradient with shift 0 is right where x is 0 (Caffe's is nan), and in place.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.power_param
        if param.power != 0 and param.scale == 0 and not _is_finite_power(param.shift, param.power):
            self.error(
                f"power_param: expected a finite shift^power where scale is 0, got {param.shift:g}^"
                f"{param.power:g}. Change shift or power."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        param = self.param.power_param
        self.op = self.ops.power(param.power, param.scale, param.shift)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, bottom[0].data, out=bottom[0].diff)


def _is_finite_power(base: float, power: float) -> bool:
    try:
        return math.isfinite(math.pow(base, power))
    except (ValueError, OverflowError):
        return False
