"""The choice of regions with the largest losses on numpy: the reference."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from caffepy.engine.core.errors import LabelError
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.labels import LabelReader

MOST_IMAGES = 1 << 31  # more than any batch has


class ImageReader(LabelReader):
    """The images of regions, checked: (regions, 5, inner) elements, the first of the five."""

    def __init__(self, scores: AxisGeometry, ignore_label: int | None, where: str) -> None:
        super().__init__(scores, ignore_label, where, "region")

    def images(self, rois: Value) -> np.ndarray:
        """(regions * inner,) int64. Raises: LabelError naming the first region of no image."""
        self.check(rois)
        return self._numbers(rois).astype(np.int64).ravel()

    def check(self, label: Value) -> None:
        content = label, label.storage_id, label.version
        if content != self._checked:
            bad = np.zeros((self.scores.outer, 5, self.scores.inner // 5), bool)
            bad[:, 0] = ~self._good(np.trunc(self._numbers(label)))
            self._refuse_any(label, bad)
            self._checked = content

    def refuse(self, label: Value, place: int, number: float) -> NoReturn:
        raise LabelError(
            self.where,
            label,
            tuple(int(index) for index in np.unravel_index(place, label.shape)),
            f"expected an image 0 or later in row {place // self.scores.inner}, got {number:g}. "
            "Write regions as rows of image, x1, y1, x2, y2.",
            self.noun,
        )

    def _numbers(self, rois: Value) -> np.ndarray:
        shape = self.scores.outer, 5, self.scores.inner // 5
        numbers: np.ndarray = rois.read().reshape(shape)[:, 0]
        return numbers


class HardRegions(Op):
    """Labels and weights of the `count` regions of each image that have the largest losses; of
    equal losses the first are taken, nan counts as the largest. The labels of the others are
    `ignore_label`, their weights 0."""

    def __init__(
        self, ops: Ops, geometry: AxisGeometry, count: int, ignore_label: int, where: str
    ) -> None:
        """geometry: of the weights, (regions, size, inner).  where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.count = count
        self.ignore_label = ignore_label
        naming = AxisGeometry(geometry.outer, MOST_IMAGES, 5 * geometry.inner)
        self._reader = ImageReader(naming, None, where)

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
        hard = self._hard(self._reader.images(rois), losses.read().reshape(-1))
        target = out_labels.write().reshape(-1)
        target[...] = np.where(hard, labels.read().reshape(-1), self.ignore_label)
        outer, _, inner = self.geometry.shape
        kept = hard.reshape(outer, 1, inner)
        source = weights.read().reshape(self.geometry.shape)
        out_weights.write().reshape(self.geometry.shape)[...] = np.where(kept, source, 0)

    def _hard(self, images: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """Whether each region is among the first of its image."""
        sizes = np.where(np.isnan(losses), np.inf, losses)
        order = np.lexsort((-sizes, images))  # by image, then by loss; stable
        of_image = images[order]
        places = np.arange(len(order))
        begins = np.diff(of_image, prepend=-1) != 0
        rank = places - np.maximum.accumulate(np.where(begins, places, 0))
        hard = np.zeros(len(order), bool)
        hard[order[rank < self.count]] = True
        return hard
