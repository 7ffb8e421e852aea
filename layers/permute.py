"""Permute: the axes of a blob in another order."""

from __future__ import annotations

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.ops.geometry import TransposeGeometry
from caffepy.engine.transposing import TransposingLayer


@register_layer("Permute")
class PermuteLayer(TransposingLayer):
    """Axis i of the top is axis order[i] of the bottom.

    bottom[0]: x, any shape   top[0]: its axes in another order
    permute_param: order (none): the axes that come first, before the rest in its order

    Raises: ShapeError where order names an axis that does not exist, or one twice.
    Source: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, and the fork to it.

    Example: x (2, 3, 4, 5) -> y (2, 4, 5, 3)
        layer { name: "y" type: "Permute" bottom: "x" top: "y"
          permute_param { order: 0 order: 2 order: 3 order: 1 } }
    """

    def arrangement(self, bottom: Blob) -> tuple[TransposeGeometry, Shape]:
        axes = range(bottom.num_axes)
        first = tuple(self.param.permute_param.order)
        if len(set(first)) < len(first) or not set(first) <= set(axes):
            self.shape_error(
                "permute_param.order",
                f"axes of '{bottom.name}', 0 to {len(axes) - 1}, each once",
                ", ".join(map(str, first)),
                "Correct it.",
            )
        order = first + tuple(axis for axis in axes if axis not in first)
        geometry = TransposeGeometry(bottom.shape, order)
        return geometry, geometry.out_shape
