"""Filter: the samples of a batch that another blob selects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.errors import NetError
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Value


@register_layer("Filter")
class FilterLayer(Layer):
    """Hands on the samples whose selector is not 0, in their order.

    bottom[i], all but the last: (N, ...)   the last bottom: (N,) or (N, 1, ...), the selector
    top[i]: (M, ...) of bottom[i], for M samples selected; M may be 0, and is N until the first
    forward pass
    There are no fields.

    A sample that is not selected gets the gradient 0.

    Raises: NetError where there is not one top for each bottom but the last, or the selector is to
    get a gradient; ShapeError where the numbers of samples differ, or there are several selectors
    for a sample.
    Source: Caffe's layer catalogue, Filter.

    Example: x (4, 3), keep (4) -> y (4, 3)
        layer { name: "y" type: "Filter" bottom: "x" bottom: "keep" top: "y" }
    """

    bottoms = (2, None)
    tops = (1, None)
    records = False

    _first = True

    def check_blob_counts(self, bottoms: int, tops: int) -> None:
        super().check_blob_counts(bottoms, tops)
        if tops != bottoms - 1:
            raise NetError(
                f"{self.where}: expected a top for each of the {bottoms - 1} bottom(s) before the "
                f"last, which is the selector, got {tops} top(s). Make the numbers fit."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        changed = super().reshape(bottom, top)
        *filtered, selector = bottom
        if changed:
            self._check_shapes(bottom)
        if self._first or not selector.data.allocated:  # nothing was computed yet: as in Caffe, all
            chosen = np.arange(selector.count)
            self._first = False
        else:
            chosen = np.flatnonzero(selector.data.read())
        self.places = Value(chosen.shape, self.ops.dtype)
        self.places.write()[...] = chosen
        self.op = self.ops.take_rows(selector.count, len(chosen), self.where)
        for source, target in zip(filtered, top, strict=True):
            changed |= target.reshape((len(chosen), *source.shape[1:]))
        return changed

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for source, target in zip(bottom, top, strict=False):
            self.op.forward(source.data, self.places, out=target.data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        *wanted, of_selector = propagate_down
        self.refuse_backward([False] * len(wanted) + [of_selector], "a selector has no gradient")
        for source, target, needed in zip(bottom, top, wanted, strict=False):
            if needed:
                self.op.backward(target.diff, self.places, out=source.diff)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """All but the selector."""
        return bottom_index != len(self.param.bottom) - 1

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int]:
        row = bottom[top_index].count // bottom[top_index].shape[0]
        return top_index, int(self.places.read()[place // row]) * row + place % row

    def _check_shapes(self, bottom: Blobs) -> None:
        *filtered, selector = bottom
        if selector.num_axes == 0 or selector.count != selector.shape[0]:
            self.shape_error(
                f"bottom '{selector.name}', the selector",
                "one number per sample, shape (N,) or (N, 1, ...)",
                f"shape {selector.shape}",
                "Reshape it, or reduce it to one number per sample.",
            )
        for blob in filtered:
            if blob.shape[:1] != selector.shape[:1]:
                self.shape_error(
                    f"bottom '{blob.name}'",
                    f"{selector.shape[0]} samples in axis 0, as many as the selector "
                    f"'{selector.name}' has",
                    f"shape {blob.shape}",
                    "Give every sample its selector.",
                )
