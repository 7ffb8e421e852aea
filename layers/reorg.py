"""Reorg: pixels become channels, or channels pixels."""

from __future__ import annotations

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.ops.geometry import TransposeGeometry
from caffepy.engine.transposing import TransposingLayer


@register_layer("Reorg")
class ReorgLayer(TransposingLayer):
    """Moves the pixels of stride x stride squares into channels, in darknet's order, or with
    `reverse` channels into pixels.

    bottom[0]: x, (N, C, H, W)   top[0]: (N, C stride^2, H / stride, W / stride); with reverse
    (N, C / stride^2, H stride, W stride)
    reorg_param: stride: of a square, in pixels; reverse (false)

    With reverse, channel o * C / stride^2 + c of x is the pixel o / stride down and o % stride to
    the right in each square of channel c of the top. Without, darknet reads the memory of x as
    (N, C / stride^2, H stride, W stride), makes channels of the pixels of its squares in the same
    order, and takes what comes of it for the top. So the two are not each other's inverse, and what
    becomes one channel depends on C.

    Raises: NetError where stride is missing or 0; ShapeError where bottom is not (N, C, H, W), or
    C does not divide by stride^2, or without reverse H or W by stride.
    Source: darknet's reorg layer (J. Redmon and A. Farhadi, "YOLO9000", CVPR 2017) and the forks
    that have it, eric612/MobileNet-YOLO and gklz1982/caffe-yolov2.
    Differs: the gradient is that of the top (the forks' on the CPU is that of an unused blob).

    Example: x (2, 4, 6, 8) -> y (2, 16, 3, 4)
        layer { name: "y" type: "Reorg" bottom: "x" top: "y" reorg_param { stride: 2 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        if self.param.reorg_param.stride < 1:
            given = self.param.reorg_param.HasField("stride")
            self.error(
                f"reorg_param.stride: expected at least 1, got {0 if given else 'none'}. Set it."
            )

    def arrangement(self, bottom: Blob) -> tuple[TransposeGeometry, Shape]:
        stride, reverse = self.param.reorg_param.stride, self.param.reorg_param.reverse
        sides = (1, 1) if reverse else (stride, stride)
        if bottom.num_axes != 4 or any(
            size % part for size, part in zip(bottom.shape[1:], (stride**2, *sides), strict=True)
        ):
            self.shape_error(
                f"bottom '{bottom.name}'",
                f"shape (N, C, H, W) with C a multiple of {stride**2}"
                + ("" if reverse else f", H and W multiples of {stride}"),
                str(bottom.shape),
                "Change the stride, or the layers below.",
            )
        n, c, h, w = bottom.shape
        fewer = c // stride**2
        if reverse:
            geometry = TransposeGeometry((n, stride, stride, fewer, h, w), (0, 3, 4, 1, 5, 2))
            return geometry, (n, fewer, h * stride, w * stride)
        geometry = TransposeGeometry((n, fewer, h, stride, w, stride), (0, 3, 5, 1, 2, 4))
        return geometry, (n, c * stride**2, h // stride, w // stride)
