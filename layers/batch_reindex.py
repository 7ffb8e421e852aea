"""BatchReindex: samples of a batch chosen by their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("BatchReindex")
class BatchReindexLayer(Layer):
    """y[i] = x[index[i]]; a sample may be taken several times, or never.

    bottom[0]: x, (N, ...)   bottom[1]: (M,) indices 0 to N-1, cut to integers   top[0]: (M, ...)
    There are no fields.

    The gradients of all copies of a sample are added up; a sample that was not taken gets 0.

    Raises: ShapeError where bottom[0] has no axis or bottom[1] not exactly 1; LabelError at an
    index outside 0 to N-1; NetError where the indices are to get a gradient.
    Source: Caffe's layer catalogue, BatchReindex.

    Example: x (4, 3), index (6) -> y (6, 3)
        layer { name: "y" type: "BatchReindex" bottom: "x" bottom: "index" top: "y" }
    """

    bottoms = 2

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        samples, indices = bottom
        if samples.num_axes == 0:
            self.shape_error(
                f"bottom '{samples.name}'",
                "at least 1 axis, the samples",
                "a scalar",
                "Reshape it.",
            )
        if indices.num_axes != 1:
            self.shape_error(
                f"bottom '{indices.name}'",
                "1 axis, one index per sample of the top",
                f"shape {indices.shape}",
                "Reshape it.",
            )
        top[0].reshape((*indices.shape, *samples.shape[1:]))
        self.op = self.ops.take_rows(samples.shape[0], indices.count, self.where)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, bottom[1].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward([False, propagate_down[1]], "indices have no gradient")
        if propagate_down[0]:
            self.op.backward(top[0].diff, bottom[1].data, out=bottom[0].diff)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The samples, not the indices."""
        return bottom_index == 0

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int]:
        row = bottom[0].count // bottom[0].shape[0]
        return 0, int(bottom[1].data.read()[place // row]) * row + place % row
