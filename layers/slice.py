"""Slice: one blob cut into several."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import ConcatGeometry


@register_layer("Slice")
class SliceLayer(Layer):
    """Cuts its bottom along one axis, at given points or into equal parts.

    bottom[0]: (..., size, ...)   top[i]: (..., size of part i, ...); the bottom's memory where
    there is only one
    slice_param: axis (1): negative ones count from the end; slice_dim (1): the old form of axis,
    not negative; slice_point (none): where the second and every later part begins, equal parts
    where none is given

    Raises: NetError where axis and slice_dim are both given, or the number of points does not fit
    the tops; ShapeError where the axis does not exist, points do not rise within it, or it does not
    divide.
    Source: Caffe's layer catalogue, Slice.

    Example: x (2, 6, 4) -> a (2, 2, 4), b (2, 4, 4)
        layer { name: "cut" type: "Slice" bottom: "x" top: "a" top: "b"
          slice_param { slice_point: 2 } }
    """

    tops = (1, None)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.slice_param
        if param.HasField("axis") and param.HasField("slice_dim"):
            self.error(
                "slice_param: expected axis or its old form slice_dim, got both. Remove slice_dim."
            )
        if param.slice_point and len(param.slice_point) != len(top) - 1:
            self.error(
                f"slice_param.slice_point: expected {len(top) - 1} for {len(top)} top(s), got "
                f"{len(param.slice_point)}. Give one point between each two tops, or none."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        changed = super().reshape(bottom, top)
        if len(top) == 1:  # each time: a shared parameter may have taken other memory
            top[0].alias(bottom[0])
        if not changed:
            return False
        param, whole = self.param.slice_param, bottom[0]
        name = "slice_dim" if param.HasField("slice_dim") else "axis"
        axis = self.canonical_axis(getattr(param, name), whole, f"slice_param.{name}")
        sizes = self._sizes(whole.shape[axis], len(top), f"axis {axis} of '{whole.name}'")
        shapes = tuple((*whole.shape[:axis], size, *whole.shape[axis + 1 :]) for size in sizes)
        for blob, shape in zip(top, shapes, strict=True):
            blob.reshape(shape)
        self.geometry = ConcatGeometry(shapes, axis)
        self.op = self.ops.concat(self.geometry)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if len(top) > 1:
            self.op.split(bottom[0].data, parts=[blob.data for blob in top])

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if len(top) > 1 and propagate_down[0]:
            self.op.join([blob.diff for blob in top], out=bottom[0].diff)

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int]:
        return 0, self.geometry.in_whole(top_index, place)

    def _sizes(self, size: int, parts: int, what: str) -> list[int]:
        """The sizes of the parts of an axis of `size`."""
        points = list(self.param.slice_param.slice_point)
        if not points:
            if size % parts:
                self.shape_error(
                    what,
                    f"a multiple of the {parts} tops",
                    str(size),
                    "Give slice_point, or another number of tops.",
                )
            return [size // parts] * parts
        borders = [0, *points, size]
        sizes = [end - start for start, end in itertools.pairwise(borders)]
        if min(sizes) <= 0:
            self.shape_error(
                "slice_param.slice_point",
                f"points that rise from 1 to {size - 1}, within {what}",
                ", ".join(map(str, points)),
                "Correct the points.",
            )
        return sizes
