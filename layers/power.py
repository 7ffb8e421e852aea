"""Power: a power of a linear function of each element."""

from __future__ import annotations

import math
from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Power")
class PowerLayer(NeuronLayer):
    """y = (shift + scale x)^power. Where power or scale is 0, y is constant and has no gradient.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    power_param: power (1): a fractional one makes nan of negative numbers; scale (1); shift (0)

    Raises: NetError where scale is 0 and shift^power is no finite number.
    Source: Caffe's layer catalogue, Power.
    Differs: the gradient with shift 0 is right where x is 0 (Caffe's is nan), and in place.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Power" bottom: "x" top: "y"
          power_param { power: 2 scale: 0.5 shift: 1 } }
    """

    not_finite_where = (
        "a negative number has a fractional power, or 0 a negative one; the gradient of a power "
        "below 1 is infinite at 0"
    )

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.power_param
        if param.power != 0 and param.scale == 0 and not _is_finite_power(param.shift, param.power):
            self.error(
                f"power_param: expected a finite shift^power where scale is 0, got {param.shift:g}^"
                f"{param.power:g}. Change shift or power."
            )

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        param = self.param.power_param
        if param.power == 0 or param.scale == 0:  # no gradient comes down
            return ()
        if (param.power, param.scale, param.shift) == (1, 1, 0):
            return ()
        if param.power < 0 or param.scale < 0 or param.shift != 0:
            return "values", "signs"
        return ("values", "negative signs") if param.power % 2 == 0 else ("values",)

    def make_op(self, x: Blob) -> Any:
        param = self.param.power_param
        return self.ops.power(param.power, param.scale, param.shift)


def _is_finite_power(base: float, power: float) -> bool:
    try:
        return math.isfinite(math.pow(base, power))
    except (ValueError, OverflowError):
        return False
