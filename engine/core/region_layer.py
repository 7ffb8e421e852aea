"""RegionLayer: the base of layers that pool regions of maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from caffepy.engine.core.layer import Blobs, Layer

_LARGEST_SCALE = 1e6


class RegionLayer(Layer):
    """A layer with maps and rows (image, x1, y1, x2, y2) as bottoms, and one region after the other
    as top.

    In `reshape` a layer sets `op`, by the number of regions that `count_regions` gives. The regions
    get no gradient: where they need one it is 0, as nets of Faster R-CNN pool what their own layers
    propose.
    """

    bottoms: ClassVar[int | tuple[int, int | None]] = 2
    op: Any  # with forward(x, rois, out=)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.no_gradient = self.ops.fill(0.0)
        return True

    def count_regions(self, bottom: Blobs) -> int:
        """How many regions there are. Raises: ShapeError where a bottom is of another kind."""
        maps, rois = bottom
        if maps.num_axes != 4:
            self.shape_error(
                f"bottom '{maps.name}'",
                "4 axes (N, C, H, W)",
                f"shape {maps.shape}",
                "Pool it before it is flattened, or reshape it.",
            )
        regions = rois.shape[0] if rois.num_axes else 0
        if rois.num_axes < 2 or rois.shape[1] != 5 or rois.count != 5 * regions:
            self.shape_error(
                f"bottom '{rois.name}'",
                "one row (image, x1, y1, x2, y2) per region, shape (regions, 5)",
                f"shape {rois.shape}",
                "Reshape it, or write the image of each region before its corners.",
            )
        return regions

    def check_scale(self, block: str, scale: float) -> None:
        """Raises: NetError where it is no number above 0, or one that places overflow with."""
        if not 0 < scale <= _LARGEST_SCALE:
            self.error(
                f"{block}.spatial_scale: expected a number above 0, the size of the maps by that "
                f"of the images, and at most {_LARGEST_SCALE:g}, got {scale:g}. Correct it."
            )

    def check_size(self, field_name: str, size: int) -> None:
        """Raises: NetError where it is not at least 1."""
        if size < 1:
            self.error(f"{field_name}: expected at least 1, got {size}. Set it.")

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, bottom[1].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.backward_maps(top, bottom)
        if propagate_down[1]:
            self.no_gradient.forward(out=bottom[1].diff)

    def backward_maps(self, top: Blobs, bottom: Blobs) -> None:
        """Overwrites the gradient of the maps."""
        raise NotImplementedError(f"{type(self).__name__}.backward_maps")

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The maps, not the regions."""
        return bottom_index == 0
