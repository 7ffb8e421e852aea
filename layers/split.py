"""Split: one blob for several readers."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("Split")
class SplitLayer(Layer):
    """Hands its bottom to every top; the gradients of the tops are added up.

    bottom[0]: any shape   top[i]: the same memory
    There are no fields.

    Source: Caffe's layer catalogue, Split. Nets insert it themselves where a blob has several
    readers.

    Example: x (2, 3) -> a (2, 3), b (2, 3)
        layer { name: "fork" type: "Split" bottom: "x" top: "a" top: "b" }
    """

    tops = (1, None)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        changed = super().reshape(bottom, top)
        for blob in top:  # each time: a shared parameter may have taken other memory
            blob.data.alias(bottom[0].data)
            blob.diff.reshape(bottom[0].shape)
        if not changed:
            return False
        self.op = self.ops.sum()
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing to do: tops are aliases."""

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.forward([blob.diff for blob in top], out=bottom[0].diff)

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int]:
        return 0, place
