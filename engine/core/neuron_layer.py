"""NeuronLayer: what the layers of one op, from one bottom to one top like it, share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs, Layer


class NeuronLayer(Layer):
    """A layer of one op, with one bottom and one top of the same shape, which may be one blob.

    A subclass says by `make_op` which op. Its gradient is a function of the bottom, or of the top
    where `gradient_from_top` is set.
    """

    in_place_allowed = True
    gradient_from_top: ClassVar[bool] = False

    @property
    def gradient_reads(self) -> str:
        return "values" if self.gradient_from_top else ""

    def make_op(self, x: Blob) -> Any:
        """The op for a bottom of this shape: `forward(x, out=)`, `backward(dy, x or y, out=)`."""
        raise NotImplementedError(f"{type(self).__name__}.make_op")

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.op = self.make_op(bottom[0])
        top[0].reshape(bottom[0].shape)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            known = top[0] if self.gradient_from_top else bottom[0]
            self.op.backward(top[0].diff, known.data, out=bottom[0].diff)

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int] | None:
        return 0, place
