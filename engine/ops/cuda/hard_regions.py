"""The choice of regions with the largest losses on a GPU."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.labels import DeviceLabels
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.hard_regions import MOST_IMAGES, ImageReader
from caffepy.engine.ops.numpy.labels import LabelReader


class DeviceImages(DeviceLabels):
    """The images of regions."""

    reader: ClassVar[type[LabelReader]] = ImageReader


class CudaHardRegions(CudaOp):
    """Labels and weights of the `count` regions of each image that have the largest losses; of
    equal losses the first are taken, nan counts as the largest. The labels of the others are
    `ignore_label`, their weights 0."""

    family = "hard_regions"

    def __init__(
        self, ops: DeviceOps, geometry: AxisGeometry, count: int, ignore_label: int, where: str
    ) -> None:
        """geometry: of the weights, (regions, size, inner).  where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.count = count
        self.ignore_label = ignore_label
        naming = AxisGeometry(geometry.outer, MOST_IMAGES, 5 * geometry.inner)
        self._images = DeviceImages(ops, naming, None, where)
        self._hard = self.scratch(geometry.outer * geometry.inner, np.uint8)

    @step(reads="rois losses labels weights", writes="out_labels out_weights")
    def forward(
        self,
        rois: Value,
        losses: Value,
        labels: Value,
        weights: Value,
        *,
        out_labels: Value,
        out_weights: Value,
    ) -> None:
        """rois: (regions, 5, inner) elements.  losses, labels, out_labels: (regions, inner).
        weights, out_weights: geometry.shape.

        Raises: LabelError where a region is of no image.
        """
        _, size, inner = self.geometry.shape
        label, _, _, *watch = self._images.check(rois)
        choice = MOST_IMAGES, label, *watch, losses, labels
        rest = self.count, self.ignore_label, self._hard, out_labels
        self.launch_rows("choose_hard", out_labels.count, inner, *choice, *rest)
        self.launch("keep_hard", out_weights.count, size, inner, self._hard, weights, out_weights)
