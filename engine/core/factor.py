"""Where a factor or a bias lies in a blob: the axes that Scale and Bias apply theirs to."""

from __future__ import annotations

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.storage import Shape


def spanned(layer: Layer, blob: Blob, axis: int, num_axes: int) -> Shape:
    """The sizes of `num_axes` axes of `blob` (-1: all) from `axis` on.

    Raises: ShapeError where there are fewer.
    """
    if num_axes == 0:
        return ()
    start = layer.canonical_axis(axis, blob)
    end = blob.num_axes if num_axes == -1 else start + num_axes
    if not start < end <= blob.num_axes:
        layer.shape_error(
            "num_axes",
            f"-1 to {blob.num_axes - start}, the axes of '{blob.name}' {blob.shape} from axis "
            f"{start} on",
            str(num_axes),
            "Change axis or num_axes.",
        )
    return blob.shape[start:end]


def fitting_axis(layer: Layer, blob: Blob, axis: int, shape: Shape) -> int:
    """Where in `blob` the axes of a factor or a bias of `shape` begin.

    Raises: ShapeError where sizes differ.
    """
    if not shape:
        return 0
    start = layer.canonical_axis(axis, blob)
    if blob.shape[start : start + len(shape)] != shape:
        layer.shape_error(
            f"bottom '{blob.name}'",
            f"the sizes {shape} from axis {start} on",
            f"shape {blob.shape}",
            "Change axis, or the shape of one of them.",
        )
    return start
