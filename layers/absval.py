"""AbsVal: the absolute value."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("AbsVal")
class AbsValLayer(NeuronLayer):
    """y = |x|; the gradient at 0 is 0.

    bottom[0]: any shape   top[0]: the same shape, not the same blob: backward needs x

    Source: Caffe's layer catalogue, Absolute Value.
    """

    in_place_allowed = False

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.op = self.ops.absolute()
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, bottom[0].data, out=bottom[0].diff)
