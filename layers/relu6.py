"""ReLU6: rectified linear units that end at 6."""

from __future__ import annotations

import math
from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("ReLU6")
class ReLU6Layer(NeuronLayer):
    """y = min(max(x, 0) + negative_slope * min(x, 0), 6); the gradient at 0 is negative_slope's, at
    6 it is 0.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    relu6_param: negative_slope (0): not below 0; engine (DEFAULT): of no effect

    Raises: NetError where negative_slope is below 0, or infinite.
    Source: A. Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010; the fork
    eric612/MobileNet-YOLO.
    Differs: the gradient of a negative slope is right in place too.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "ReLU6" bottom: "x" top: "y" }
    """

    gradient_from_top = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        slope = self.param.relu6_param.negative_slope
        if not 0 <= slope < math.inf:
            self.error(
                f"relu6_param.negative_slope: expected 0 or more, got {slope:g}. Correct it."
            )

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return ("values",)

    def make_op(self, x: Blob) -> Any:
        return self.ops.relu6(self.param.relu6_param.negative_slope)
