"""Silence: takes blobs that nobody else needs."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("Silence")
class SilenceLayer(Layer):
    """Does nothing, so that its bottoms are no outputs of the net; their gradient is 0.

    bottom[i]: any shape
    There are no fields.

    Source: Caffe's layer catalogue, Silence.

    Example: x (2, 3) ->
        layer { name: "quiet" type: "Silence" bottom: "x" }
    """

    bottoms = (1, None)
    tops = 0

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.op = self.ops.fill(0)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing to do."""

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        for blob, wanted in zip(bottom, propagate_down, strict=True):
            if wanted:
                self.op.forward(out=blob.diff)
