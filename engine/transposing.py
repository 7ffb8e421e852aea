"""TransposingLayer: what the layers share that move elements by putting axes in another order."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.ops.geometry import TransposeGeometry


class TransposingLayer(Layer):
    """A layer whose top is its bottom, seen in some shape, with its axes in another order.

    A subclass says in `arrangement` which.
    """

    def arrangement(self, bottom: Blob) -> tuple[TransposeGeometry, Shape]:
        """The order, and the top's shape."""
        raise NotImplementedError(f"{type(self).__name__}.arrangement")

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.geometry, shape = self.arrangement(bottom[0])
        top[0].reshape(shape)
        self.op = self.ops.transpose(self.geometry)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, out=bottom[0].diff)

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int]:
        return 0, self.geometry.source_of(place)
