"""Permute: the axes of a blob in another order."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import TransposeGeometry


@register_layer("Permute")
class PermuteLayer(Layer):
    """Axis i of the top is axis order[i] of the bottom.

    bottom[0]: x, any shape   top[0]: its axes in another order
    permute_param: order (none): the axes that come first, before the rest in its order

    Raises: ShapeError where order names an axis that does not exist, or one twice.
    Source: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, and the fork to it.

    Example: x (2, 3, 4, 5) -> y (2, 4, 5, 3)
        layer { name: "y" type: "Permute" bottom: "x" top: "y"
          permute_param { order: 0 order: 2 order: 3 order: 1 } }
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        axes = range(bottom[0].num_axes)
        first = tuple(self.param.permute_param.order)
        if len(set(first)) < len(first) or not set(first) <= set(axes):
            self.shape_error(
                "permute_param.order",
                f"axes of '{bottom[0].name}', 0 to {len(axes) - 1}, each once",
                ", ".join(map(str, first)),
                "Correct it.",
            )
        order = first + tuple(axis for axis in axes if axis not in first)
        self.geometry = TransposeGeometry(bottom[0].shape, order)
        top[0].reshape(self.geometry.out_shape)
        self.op = self.ops.transpose(self.geometry)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, out=bottom[0].diff)

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int]:
        return 0, self.geometry.source_of(place)
