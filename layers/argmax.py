"""ArgMax: which elements are the largest."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("ArgMax")
class ArgMaxLayer(Layer):
    """The places of the top_k largest elements of each sample, or along an axis, largest first.

    bottom[0]: (N, ...)
    top[0]: without axis (N, 1, top_k), places in the flattened sample; or (N, 2, top_k) with
    out_max_val, places and then values; with as many axes as the bottom where it has more than 3,
    the others of size 1
    top[0] with axis: like the bottom with top_k elements along the axis, places; or values instead
    with out_max_val
    argmax_param: axis (none): along it, else over the whole sample; top_k (1): how many places;
    out_max_val (false): give values

    Of equal elements the one with the higher place comes first; nan counts as largest.

    Raises: ShapeError where the axis does not exist, top_k is 0 or larger than the number of
    elements; NetError where the bottom is to get a gradient.
    Source: Caffe's layer catalogue, ArgMax.

    Example: score (8, 10) -> class (8, 1, 1)
        layer { name: "class" type: "ArgMax" bottom: "score" top: "class" }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self.refuse_fork_fields(self.param.argmax_param)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        param, shape = self.param.argmax_param, bottom[0].shape
        along_axis = param.HasField("axis")
        if along_axis:
            axis = self.canonical_axis(param.axis, bottom[0], "argmax_param.axis")
            geometry = AxisGeometry.around(shape, axis)
            top_shape = (*shape[:axis], param.top_k, *shape[axis + 1 :])
        else:
            self.canonical_axis(0, bottom[0], "the axis of samples,")
            geometry = AxisGeometry.around((*shape, 1), 1, len(shape))
            rows = 2 if param.out_max_val else 1
            top_shape = (shape[0], rows, param.top_k, *[1] * (len(shape) - 3))
        if not 1 <= param.top_k <= geometry.size:
            self.shape_error(
                "argmax_param.top_k",
                f"1 to {geometry.size}, the number of elements compared in '{bottom[0].name}' of "
                f"shape {shape}",
                str(param.top_k),
                "Change top_k.",
            )
        top[0].reshape(top_shape)
        places = not (along_axis and param.out_max_val)
        self.op = self.ops.argmax(geometry, param.top_k, places, param.out_max_val)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward(propagate_down, "places have no gradient")

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Never: a net with force_backward may hold this layer."""
        return False
