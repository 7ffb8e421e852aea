"""PriorBox: boxes of given sizes around each cell of a feature map."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import PriorBoxGeometry

SAME = 1e-6  # ratios that differ by less are one


@register_layer("PriorBox")
class PriorBoxLayer(Layer):
    """Boxes around the middle of each cell of a feature map, as shares of the image's sides, and
    their variances. Only the shapes of the bottoms count.

    bottom[0]: feature map (N, C, H, W)   bottom[1]: image (N, C, height, width)
    top[0]: (1, 2, H W priors 4): [0, 0] xmin, ymin, xmax, ymax of each box, cells row by row,
    [0, 1] four variances for each box
    prior_box_param: min_size (none): in pixels, one or more; max_size (none): none, or one for each
    min_size, larger than it; aspect_ratio (none): width by height, of more boxes; flip (true): each
    ratio also upside down; clip (false): boxes end at the image's edges; variance (none): one, or
    four, 0.1 without; img_size (none): in place of the image's height and width; img_h (none),
    img_w (none): the same, each; step (none): pixels from a cell to the next, image size / map size
    without; step_h (none), step_w (none): the same, down and to the right; offset (0.5): of the
    middle of a cell, in cells

    For each min_size, cut to an integer as max_size is: a square of it, with max_size a square of
    sqrt(min_size max_size), then for each ratio, and if flip for its inverse, a box of the area of
    the first. A ratio that is 1, or was there before, is left out.

    Raises: NetError where sizes are missing, 0, or given in two ways; ShapeError where a bottom is
    not (N, C, H, W).
    Source: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, and the fork
    weiliu89/caffe (ssd).
    Differs: where a gradient is asked for it is 0 (the fork leaves what was there).

    Example: conv (2, 8, 3, 4), data (2, 3, 30, 40) -> priors (1, 2, 192)
        layer { name: "priors" type: "PriorBox" bottom: "conv" bottom: "data" top: "priors"
          prior_box_param { min_size: 10 max_size: 20 aspect_ratio: 2 } }
    """

    bottoms = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.prior_box_param
        if not param.min_size:
            self._refuse("min_size", "at least one, in pixels", "none")
        if param.max_size and len(param.max_size) != len(param.min_size):
            self._refuse(
                "max_size",
                f"none, or one for each of the {len(param.min_size)} min_size",
                str(len(param.max_size)),
            )
        for name in ("min_size", "aspect_ratio", "variance"):
            for number in getattr(param, name):
                if not 0 < number < math.inf:
                    self._refuse(name, "numbers above 0", f"{number:g}")
        for least, most in zip(param.min_size, param.max_size, strict=False):
            if not least < most < math.inf:
                self._refuse("max_size", f"more than its min_size {least:g}", f"{most:g}")
        if len(param.variance) not in (0, 1, 4):
            self._refuse("variance", "1 number, or 4", str(len(param.variance)))
        self.image_size = self._pair("img_size", "img_h", "img_w")
        self.step = self._pair("step", "step_h", "step_w")
        if not math.isfinite(param.offset):
            self._refuse("offset", "a finite number", f"{param.offset:g}")

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        map_size, image_size = map(self._size, bottom)
        image_size = self.image_size or image_size
        of_map = image_size[0] / map_size[0], image_size[1] / map_size[1]
        param = self.param.prior_box_param
        variances = tuple(param.variance) or (0.1,)
        geometry = PriorBoxGeometry(
            map_size,
            image_size,
            step=self.step or of_map,
            offset=param.offset,
            boxes=tuple(self._boxes()),
            variances=variances * (4 // len(variances)),
            clip=param.clip,
        )
        top[0].reshape(geometry.out_shape)
        self.op = self.ops.prior_boxes(geometry)
        self.no_gradient = self.ops.fill(0.0)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        for blob, wanted in zip(bottom, propagate_down, strict=True):
            if wanted:
                self.no_gradient.forward(out=blob.diff)

    def _boxes(self) -> list[tuple[float, float]]:
        """(height, width) of the boxes of a cell."""
        param = self.param.prior_box_param
        ratios = [1.0]
        for ratio in param.aspect_ratio:
            if all(abs(ratio - other) >= SAME for other in ratios):
                ratios += [ratio, 1 / ratio] if param.flip else [ratio]
        boxes = []
        for index, given in enumerate(param.min_size):
            size = int(given)
            boxes.append((float(size), float(size)))
            if param.max_size:
                side = math.sqrt(size * int(param.max_size[index]))
                boxes.append((side, side))
            for ratio in ratios:
                if abs(ratio - 1) >= SAME:
                    boxes.append((size / math.sqrt(ratio), size * math.sqrt(ratio)))
        return boxes

    def _pair(self, both: str, of_h: str, of_w: str) -> tuple[int, int] | None:
        """(h, w) as one field says it, or two; None where none is given."""
        param = self.param.prior_box_param
        if param.HasField(of_h) or param.HasField(of_w):
            if param.HasField(both):
                self._refuse(f"{both}, {of_h}, {of_w}", f"{both}, or {of_h} and {of_w}", "both")
            pair = getattr(param, of_h), getattr(param, of_w)
        elif param.HasField(both):
            pair = (getattr(param, both),) * 2
        else:
            return None
        if not all(0 < number < math.inf for number in pair):
            name = both if param.HasField(both) else f"{of_h} and {of_w}"
            self._refuse(name, "numbers above 0", ", ".join(f"{number:g}" for number in pair))
        return pair

    def _size(self, blob: Blob) -> tuple[int, int]:
        """Its height and width."""
        if blob.num_axes != 4 or 0 in blob.shape[2:]:
            self.shape_error(
                f"bottom '{blob.name}'",
                "4 axes (N, C, H, W) with pixels",
                f"shape {blob.shape}",
                "Give the feature map, then the image.",
            )
        return blob.shape[2], blob.shape[3]

    def _refuse(self, field: str, expected: str, got: str) -> None:
        self.error(f"prior_box_param.{field}: expected {expected}, got {got}. Correct it.")
