"""ELU: exponential linear units."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("ELU")
class ELULayer(NeuronLayer):
    """y = x above 0, alpha (exp(x) - 1) from 0 down; the gradient at 0 is alpha's.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    elu_param: alpha (1)

    Raises: NetError where a fork's lambda is given.
    Source: Caffe's layer catalogue, ELU; D. Clevert et al., "Fast and accurate deep network
    learning by exponential linear units", 2015.
    Differs: the gradient of a negative alpha is right in place too.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "ELU" bottom: "x" top: "y" }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self.refuse_fork_fields(self.param.elu_param)

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return ("negative values",) if self.param.elu_param.alpha else ()

    def make_op(self, x: Blob) -> Any:
        return self.ops.elu(self.param.elu_param.alpha)
