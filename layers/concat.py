"""Concat: blobs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import ConcatGeometry


@register_layer("Concat")
class ConcatLayer(Layer):
    """Joins its bottoms along one axis; their other axes are equal.

    bottom[i]: (..., size i, ...)   top[0]: (..., sum of the sizes, ...); the bottom's memory where
    there is only one
    concat_param: axis (1): negative ones count from the end; concat_dim (1): the old form of axis,
    not negative

    Raises: NetError where axis and concat_dim are both given; ShapeError where the axis does not
    exist or other axes differ.
    Source: Caffe's layer catalogue, Concat.

    Example: a (2, 3, 5, 5), b (2, 4, 5, 5) -> y (2, 7, 5, 5)
        layer { name: "y" type: "Concat" bottom: "a" bottom: "b" top: "y" }
    """

    bottoms = (1, None)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.concat_param
        self.refuse_fork_fields(param, harmless=("engine",))
        if param.HasField("axis") and param.HasField("concat_dim"):
            self.error(
                "concat_param: expected axis or its old form concat_dim, got both. Remove "
                "concat_dim."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        changed = super().reshape(bottom, top)
        if len(bottom) == 1:  # each time: a shared parameter may have taken other memory
            top[0].alias(bottom[0])
        if not changed:
            return False
        param, first = self.param.concat_param, bottom[0]
        name = "concat_dim" if param.HasField("concat_dim") else "axis"
        axis = self.canonical_axis(getattr(param, name), first, f"concat_param.{name}")
        for blob in bottom[1:]:
            others = [(*shape[:axis], *shape[axis + 1 :]) for shape in (first.shape, blob.shape)]
            if first.num_axes != blob.num_axes or others[0] != others[1]:
                self.shape_error(
                    f"bottom '{blob.name}'",
                    f"the shape {first.shape} of '{first.name}' but for axis {axis}",
                    str(blob.shape),
                    "Make the other axes equal, or join along another axis.",
                )
        self.geometry = ConcatGeometry(tuple(blob.shape for blob in bottom), axis)
        top[0].reshape(self.geometry.out_shape)
        self.op = self.ops.concat(self.geometry)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if len(bottom) > 1:
            self.op.join([blob.data for blob in bottom], out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if len(bottom) > 1 and any(propagate_down):
            self.op.split(
                top[0].diff,
                parts=[
                    blob.diff if wanted else None
                    for blob, wanted in zip(bottom, propagate_down, strict=True)
                ],
            )

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int]:
        return self.geometry.in_part(place)
