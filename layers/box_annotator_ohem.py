"""BoxAnnotatorOHEM: online hard example mining."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("BoxAnnotatorOHEM")
class BoxAnnotatorOHEMLayer(Layer):
    """Labels and box weights of the roi_per_img regions of each image that have the largest losses;
    the labels of the others are ignore_label, their weights 0.

    bottom[0]: (R, 5) or (R, 5, H, W) regions, rows of image, x1, y1, x2, y2   bottom[1]: (R, 1, H,
    W) the loss of each   bottom[2]: (R, 1, H, W) labels   bottom[3]: (R, B, H, W) weights; trailing
    axes of size 1 may be left out
    top[0]: (R, 1, H, W) labels   top[1]: (R, B, H, W) weights
    box_annotator_ohem_param: roi_per_img (none): at least 1; ignore_label (-1): as in loss_param of
    the loss that reads the labels

    Of equal losses the first regions are taken; nan counts as the largest. There is no gradient:
    where a bottom needs one it is 0.

    Raises: ShapeError where the bottoms do not fit; LabelError at a region of no image; NetError
    where roi_per_img is not given.
    Source: A. Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example
    Mining", CVPR 2016, and the fork to R-FCN.

    Example: rois (9, 5), loss (9), label (9), weight (9, 8) -> hard (9, 1, 1, 1), w (9, 8, 1, 1)
        layer { name: "mining" type: "BoxAnnotatorOHEM" bottom: "rois" bottom: "loss"
          bottom: "label" bottom: "weight" top: "hard" top: "w"
          box_annotator_ohem_param { roi_per_img: 128 ignore_label: -1 } }
    """

    bottoms = 4
    tops = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        count = self.param.box_annotator_ohem_param.roi_per_img
        if count < 1:
            self.error(
                f"box_annotator_ohem_param.roi_per_img: expected at least 1, got {count}. Set it."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        rois, losses, labels, weights = bottom
        regions, _, *plane = self._shape(rois, "(regions, 5, H, W)")
        self._check(rois, (regions, 5, *plane))
        for blob in (losses, labels):
            self._check(blob, (regions, 1, *plane))
        _, size, *_ = self._shape(weights, "(regions, B, H, W)")
        shape = (regions, size, *plane)
        self._check(weights, shape)
        param = self.param.box_annotator_ohem_param
        self.op = self.ops.hard_regions(
            AxisGeometry.around(shape, 1), param.roi_per_img, param.ignore_label, self.where
        )
        self.no_gradient = self.ops.fill(0.0)
        top[0].reshape((regions, 1, *plane))
        top[1].reshape(shape)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        rois, losses, labels, weights = (blob.data for blob in bottom)
        self.op.forward(
            rois, losses, labels, weights, out_labels=top[0].data, out_weights=top[1].data
        )

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        for blob, wanted in zip(bottom, propagate_down, strict=True):
            if wanted:
                self.no_gradient.forward(out=blob.diff)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Nothing gets a gradient from the choice."""
        return False

    def origin(self, top_index: int, place: int, bottom: Blobs) -> tuple[int, int]:
        return 2 + top_index, place

    def _shape(self, blob: Blob, axes: str) -> Shape:
        """Its shape with 4 axes. Raises: ShapeError where it has more, or none."""
        if not 1 <= blob.num_axes <= 4:
            self.shape_error(
                f"bottom '{blob.name}'", f"1 to 4 axes {axes}", f"shape {blob.shape}", "Reshape it."
            )
        return blob.shape + (1,) * (4 - blob.num_axes)

    def _check(self, blob: Blob, expected: Shape) -> None:
        """Raises: ShapeError where its shape is another."""
        if self._shape(blob, "(N, C, H, W)") != expected:
            self.shape_error(
                f"bottom '{blob.name}'",
                f"shape {expected}, by the regions '{self.param.bottom[0]}'",
                str(blob.shape),
                "Reshape it, or give each region its own.",
            )
