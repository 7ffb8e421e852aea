"""Interp: feature maps made larger or smaller by bilinear interpolation."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.blob import MAX_COUNT
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import InterpGeometry
from caffepy.proto.caffe_pb2 import InterpParameter


@register_layer("Interp")
class InterpLayer(Layer):
    """Feature maps in another size, bilinear, with their corners where they were: row i of the top
    lies at row i (size - 1) / (out - 1) of the bottom, at row 0 where out is 1; so do columns.

    bottom[0]: x, (N, C, H, W)   top[0]: (N, C, out_h, out_w)
    interp_param: height (0), width (0): of the top; zoom_factor (1): out = size + (size - 1)
    (zoom_factor - 1); shrink_factor (1): out = (size - 1) / shrink_factor + 1, rounded down;
    pad_beg (0), pad_end (0): below 0, so many rows and columns are cut off at the start and at the
    end first; mode (LINEAR): nothing else; interp_type (bilinear): nothing else

    One factor alone wins over height and width, these win over both factors, and of both factors
    the top is shrunk first.

    Raises: NetError where no size is given, or one that does not go; ShapeError where bottom is not
    (N, C, H, W), or nothing of it is left.
    Source: L.-C. Chen et al., "DeepLab", 2016, and H. Zhao et al., "Pyramid Scene Parsing Network",
    CVPR 2017, with their forks (hszhao/PSPNet).
    Differs: positions are exact (the forks' are float, which tells in the sixth digit).

    Example: x (2, 3, 5, 7) -> y (2, 3, 9, 13)
        layer { name: "y" type: "Interp" bottom: "x" top: "y" interp_param { zoom_factor: 2 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.interp_param
        if param.mode != InterpParameter.LINEAR:
            name = InterpParameter.Mode.Name(param.mode)
            self.error(f"interp_param.mode: expected LINEAR, got {name}. Use Upsample for nearest.")
        self.refuse_fork_fields(param)
        for name in ("zoom_factor", "shrink_factor"):
            if getattr(param, name) < 1:
                self._refuse(name, "at least 1", getattr(param, name))
        for name in ("pad_beg", "pad_end"):
            if getattr(param, name) > 0:
                self._refuse(name, "0, or less to crop", getattr(param, name))
        self.zooms, self.shrinks = (param.HasField(f"{name}_factor") for name in ("zoom", "shrink"))
        sized = param.HasField("height") and param.HasField("width")
        self.sized = sized and self.zooms == self.shrinks
        if self.sized:
            for name in ("height", "width"):
                if not 1 <= getattr(param, name) <= MAX_COUNT:
                    self._refuse(name, "at least 1", getattr(param, name))
        elif not (self.zooms or self.shrinks):
            self.error(
                "interp_param: expected height and width, zoom_factor or shrink_factor, got none. "
                "Set the size."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        param, shape = self.param.interp_param, bottom[0].shape
        cut = -param.pad_beg - param.pad_end
        if len(shape) != 4 or min(shape[2:]) - cut < 1:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                f"4 axes (N, C, H, W) with at least {cut + 1} rows and columns",
                f"shape {shape}",
                "Change pad_beg and pad_end, or the layers below.",
            )
        n, c, h, w = shape
        out = param.height, param.width
        if not self.sized:
            out = self._scaled(h - cut), self._scaled(w - cut)
        top[0].reshape((n, c, *out))
        geometry = InterpGeometry(
            n * c,
            (h, w),
            start=(-param.pad_beg, -param.pad_beg),
            read=(h - cut, w - cut),
            out=out,
        )
        self.op = self.ops.interp(geometry)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, out=bottom[0].diff)

    def _scaled(self, size: int) -> int:
        param = self.param.interp_param
        size = (size - 1) // param.shrink_factor + 1
        return size + (size - 1) * (param.zoom_factor - 1)

    def _refuse(self, field: str, expected: str, got: int) -> None:
        self.error(f"interp_param.{field}: expected {expected}, got {got}. Correct it.")
