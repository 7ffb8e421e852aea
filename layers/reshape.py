"""Reshape: the same elements in another shape."""

from __future__ import annotations

import math

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.view_layer import ViewLayer


@register_layer("Reshape")
class ReshapeLayer(ViewLayer):
    """Gives a run of axes another shape; elements keep their order.

    bottom[0]: any shape   top[0]: the same memory
    reshape_param: shape: the new sizes, 0 copies that of the bottom's axis at the same place, -1
    (once) takes what is left; axis (0): the first axis that is replaced, negative ones count from
    the end, -1 being behind the last axis; num_axes (-1): how many are replaced, -1 all the rest, 0
    none, so that `shape` is put in before `axis`

    Raises: NetError where a size is below -1 or -1 is given twice; ShapeError where the axes do not
    exist or the number of elements would change.
    Source: Caffe's layer catalogue, Reshape.

    Example: x (2, 3, 4, 5) -> y (2, 12, 5)
        layer { name: "y" type: "Reshape" bottom: "x" top: "y"
          reshape_param { shape { dim: 0 dim: -1 dim: 5 } } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self.refuse_fork_fields(self.param.reshape_param)
        sizes = self.param.reshape_param.shape.dim
        wrong = [size for size in sizes if size < -1]
        if wrong or list(sizes).count(-1) > 1:
            self.error(
                "reshape_param.shape: expected sizes from 0 up and at most one -1, got "
                f"{', '.join(map(str, sizes))}. Correct the sizes."
            )

    def top_shape(self, bottom: Blob) -> Shape:
        shape = bottom.shape
        start, end = self._replaced(bottom)
        sizes = self.param.reshape_param.shape.dim
        middle = [
            self._copied(bottom, start + place) if size == 0 else size
            for place, size in enumerate(sizes)
        ]
        if -1 in middle:  # copied axes count on neither side, so that their sizes may be 0
            places = enumerate(sizes, start)
            copied = {axis for axis, size in places if size == 0 and axis < end}
            places = enumerate(middle, start)
            given = math.prod(size for axis, size in places if size != -1 and axis not in copied)
            replaced = math.prod(shape[axis] for axis in range(start, end) if axis not in copied)
            if given and replaced % given == 0:
                middle[middle.index(-1)] = replaced // given
        result = (*shape[:start], *middle, *shape[end:])
        if -1 in middle or math.prod(result) != bottom.count:
            self.shape_error(
                "reshape_param.shape",
                f"as many elements as '{bottom.name}' of shape {shape} has, {bottom.count}",
                f"{result}",
                "Correct the sizes, or let one of them be -1.",
            )
        return result

    def _replaced(self, bottom: Blob) -> tuple[int, int]:
        """The axes that are replaced: the first one and the one behind the last."""
        param, axes = self.param.reshape_param, bottom.num_axes
        start = param.axis if param.axis >= 0 else param.axis + axes + 1
        end = axes if param.num_axes == -1 else start + param.num_axes
        if not 0 <= start <= axes or param.num_axes < -1 or end > axes:
            self.shape_error(
                "reshape_param",
                f"an axis from {-axes - 1} to {axes}, and num_axes -1 or no more axes than follow "
                f"it in '{bottom.name}' of shape {bottom.shape}",
                f"axis {param.axis}, num_axes {param.num_axes}",
                "Change axis or num_axes.",
            )
        return start, end

    def _copied(self, bottom: Blob, axis: int) -> int:
        """The size of the bottom's axis that a 0 stands for."""
        if axis >= bottom.num_axes:
            self.shape_error(
                "reshape_param.shape",
                f"0 only at the place of an axis of '{bottom.name}' of shape {bottom.shape}",
                f"0 for axis {axis}",
                "Give the size.",
            )
        return bottom.shape[axis]
