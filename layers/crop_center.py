"""CropCenter: cuts the same off both ends of each axis."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("CropCenter")
class CropCenterLayer(Layer):
    """The middle of a blob: of each axis `crop_size` elements are left out at either end.

    bottom[0]: x, any shape   top[0]: each axis shorter by 2 * crop_size
    crop_center_param: crop_size: one for each axis, the first included

    Raises: ShapeError where the number of crop_size is not that of axes, or nothing is left.
    Source: the fork of lltcggie (waifu2x-caffe).

    Example: x (1, 3, 10, 12) -> y (1, 3, 8, 10)
        layer { name: "y" type: "CropCenter" bottom: "x" top: "y"
          crop_center_param { crop_size: 0 crop_size: 0 crop_size: 1 crop_size: 1 } }
    """

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        whole, start = bottom[0].shape, tuple(self.param.crop_center_param.crop_size)
        if len(start) != len(whole):
            self.shape_error(
                "crop_center_param.crop_size",
                f"one for each axis of '{bottom[0].name}' of shape {whole}",
                f"{len(start)} numbers",
                "Give 0 for axes that stay as they are.",
            )
        shape = tuple(size - 2 * cut for size, cut in zip(whole, start, strict=True))
        if any(size < 1 for size in shape):
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                f"more than 2 * crop_size elements in each axis, crop_size being {start}",
                f"shape {whole}",
                "Take smaller crops, or a larger input.",
            )
        top[0].reshape(shape)
        self.op = self.ops.crop(start, shape)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, out=bottom[0].diff)
