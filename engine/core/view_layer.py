"""ViewLayer: what the layers share that show their bottom in another shape."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.storage import Shape


class ViewLayer(Layer):
    """A layer whose top is its bottom's memory, data and diff, in another shape: nothing is copied.

    A subclass says the shape in `top_shape`.
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        changed = super().reshape(bottom, top)
        shape = self.top_shape(bottom[0]) if changed else top[0].shape
        top[0].alias(bottom[0], shape)  # each time: a shared parameter may have taken other memory
        return changed

    def top_shape(self, bottom: Blob) -> Shape:
        """The shape of the top, with as many elements as `bottom`."""
        raise NotImplementedError(f"{type(self).__name__}.top_shape")

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing to do: the top is a view."""

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        """Nothing to do: the top is a view."""

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int]:
        return 0, place
