"""Upsample: feature maps made larger, by copies of pixels or by the mask of a Pooling layer."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.blob import MAX_COUNT, Blob
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("Upsample")
class UpsampleLayer(Layer):
    """With one bottom each pixel becomes a square of scale x scale pixels; with two each goes where
    the second says, which is what a Pooling layer's second top says of maxima, and there is 0
    elsewhere.

    bottom[0]: x, (N, C, H, W)   bottom[1], optional: like x, the place of each pixel in the top's
    plane, as row * width + column   top[0]: (N, C, H scale, W scale), or (N, C, upsample_h,
    upsample_w)
    upsample_param: scale (2): a whole number, where none is given with one bottom 1; scale_h
    (none), scale_w (none): in place of scale; pad_out_h (false), pad_out_w (false): one row or
    column less, for a scale of 2; upsample_h (none), upsample_w (none): of the top, in place of all
    others

    All fields but scale are for two bottoms. Of pixels that go to one place the last stays; each of
    them gets that place's gradient, as in SegNet's fork.

    Raises: NetError where sizes are missing, no whole numbers, or given in two ways; ShapeError
    where bottom is not (N, C, H, W), or the second is not like it; LabelError where a place is
    beyond the top.
    Source: the fork eric612/MobileNet-YOLO (one bottom); V. Badrinarayanan et al., "SegNet", 2015,
    and the fork alexgkendall/caffe-segnet (two).

    Example: x (2, 3, 4, 5) -> y (2, 3, 8, 10)
        layer { name: "y" type: "Upsample" bottom: "x" top: "y" upsample_param { scale: 2 } }
    """

    bottoms = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.upsample_param
        self.by_mask = len(bottom) > 1
        names = [field.name for field, _ in param.ListFields()]
        if not self.by_mask and set(names) - {"scale"}:
            self.error(
                f"upsample_param: expected scale alone with one bottom, got {', '.join(names)}. "
                "Remove the others, or give the mask of a Pooling layer as second bottom."
            )
        self.sizes = self._pair("upsample_h", "upsample_w")
        self.scales = (1, 1) if self.sizes else self._read_scales()

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        x, shape = bottom[0], bottom[0].shape
        if len(shape) != 4:
            self.shape_error(
                f"bottom '{x.name}'", "4 axes (N, C, H, W)", f"shape {shape}", "Reshape it."
            )
        top[0].reshape((*shape[:2], *self._out_size(x)))
        if not self.by_mask:
            self.op = self.ops.upsample(shape, self.scales[0])
            return True
        if bottom[1].shape != shape:
            self.shape_error(
                f"bottom '{bottom[1].name}'",
                f"shape {shape}, that of '{x.name}'",
                str(bottom[1].shape),
                "Give the second top of the Pooling layer that it undoes.",
            )
        sizes = (blob.shape[2] * blob.shape[3] for blob in (x, top[0]))
        self.op = self.ops.unpool(shape[0] * shape[1], *sizes, self.where)
        self.no_gradient = self.ops.fill(0.0)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(*(blob.data for blob in bottom), out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            mask = (blob.data for blob in bottom[1:])
            self.op.backward(top[0].diff, *mask, out=bottom[0].diff)
        if self.by_mask and propagate_down[1]:
            self.no_gradient.forward(out=bottom[1].diff)

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int] | None:
        if self.by_mask:
            return None
        width, scale = bottom[0].shape[3], self.scales[0]
        row, column = divmod(place, width * scale)
        return 0, row // scale * width + column // scale

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def _out_size(self, x: Blob) -> tuple[int, int]:
        """The top's height and width."""
        if self.sizes is not None:
            return self.sizes
        param = self.param.upsample_param
        height, width = x.shape[2] * self.scales[0], x.shape[3] * self.scales[1]
        return height - param.pad_out_h, width - param.pad_out_w

    def _read_scales(self) -> tuple[int, int]:
        """How much higher and wider the top is."""
        param = self.param.upsample_param
        scales = self._pair("scale_h", "scale_w")
        if scales and param.HasField("scale"):
            self.error(
                "upsample_param: expected scale, or scale_h and scale_w, got both. Remove one."
            )
        if scales is None:
            scale = param.scale if self.by_mask or param.HasField("scale") else 1
            if not 1 <= scale <= MAX_COUNT or scale != int(scale):
                self._refuse("scale", "a whole number from 1 on", f"{scale:g}")
            scales = int(scale), int(scale)
        for name, scale in zip(("pad_out_h", "pad_out_w"), scales, strict=True):
            if getattr(param, name) and scale != 2:
                self._refuse(name, "false where the scale is not 2", f"true for {scale}")
        return scales

    def _pair(self, of_h: str, of_w: str) -> tuple[int, int] | None:
        """Two fields that go together; None where neither is given."""
        param = self.param.upsample_param
        if not (param.HasField(of_h) or param.HasField(of_w)):
            return None
        pair = getattr(param, of_h), getattr(param, of_w)
        if not all(1 <= number <= MAX_COUNT for number in pair):
            self._refuse(f"{of_h} and {of_w}", "at least 1", f"{pair[0]} and {pair[1]}")
        return pair

    def _refuse(self, field: str, expected: str, got: str) -> None:
        self.error(f"upsample_param.{field}: expected {expected}, got {got}. Correct it.")
