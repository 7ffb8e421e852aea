"""Class labels as numpy ops read them."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry


class LabelReader:
    """Class numbers kept as floats: cut to integers as Caffe does, and checked.

    scores: the blob that is labelled, seen around its axis of classes.  ignore_label: positions
    with this label count for nothing.  where: the layer, for messages.
    """

    def __init__(self, scores: AxisGeometry, ignore_label: int | None, where: str) -> None:
        self.scores = scores
        self.ignore_label = ignore_label
        self.where = where

    def read(self, label: Value) -> tuple[np.ndarray, np.ndarray]:
        """label: (outer, inner) elements in any shape, axis 0 the samples.

        Returns (outer, inner) int64 class numbers, 0 where the label is none, and (outer, inner)
        bool: whether the position counts.
        Raises: DataError naming the first sample whose label is no class.
        """
        numbers = np.trunc(label.read())
        counted = np.full(label.shape, True) if self.ignore_label is None else (
            numbers != self.ignore_label
        )  # fmt: skip
        good = (numbers >= 0) & (numbers < self.scores.size)
        bad = counted & ~good
        if bad.any():
            self._refuse(label, bad)
        classes = np.where(good, numbers, 0).astype(np.int64)
        shape = (self.scores.outer, self.scores.inner)
        return classes.reshape(shape), counted.reshape(shape)

    def _refuse(self, label: Value, bad: np.ndarray) -> None:
        place = tuple(int(index) for index in np.argwhere(bad)[0])
        sample = place[0] if place else 0
        inside = f" at {place[1:]}" if any(size > 1 for size in label.shape[1:]) else ""
        last = self.scores.size - 1
        ignored = "" if self.ignore_label is None else f" or ignore_label {self.ignore_label}"
        raise DataError(
            f"{self.where}: label of sample {sample} of the batch{inside}: expected 0 to {last}"
            f"{ignored}, got {label.read()[place]:g}. Correct the data, give the layer below "
            "as many outputs as there are classes, or set ignore_label."
        )
