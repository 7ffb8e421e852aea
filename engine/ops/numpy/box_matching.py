"""Matching boxes with the truth on numpy: the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from caffepy.engine.core.errors import LabelError
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.multibox_geometry import ROW, Matching, MultiBox
from caffepy.engine.ops.numpy import boxes

LEAST_OVERLAP = 1e-6  # below, boxes do not meet: SSD's constant
COORDINATES = slice(3, 7)  # of a row of the truth


@dataclass(frozen=True)
class Rows:
    """What the rows of the truth say. images: (R,), -1 where a row does not count.  classes: (R,).
    boxes: (R, 4)."""

    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray


class TruthReader:
    """Rows of boxes kept as floats: numbers of images and classes are cut to integers, and checked.
    Rows of image -1 are empty. where: the layer, for messages."""

    def __init__(self, geometry: MultiBox, matching: Matching, where: str) -> None:
        self.geometry = geometry
        self.matching = matching
        self.where = where

    def check(self, truth: Value) -> None:
        """Raises: LabelError naming the first row that cannot be used."""
        self._images(truth)

    def read(self, truth: Value) -> Rows:
        """truth: (R, 8) elements.

        Raises: LabelError naming the first row that cannot be used.
        """
        images = self._images(truth)
        rows = truth.read().reshape(-1, ROW)
        if self.matching.skips_difficult:
            images[rows[:, 7] != 0] = -1
        return Rows(images, classes_of(truth), rows[:, COORDINATES])

    def _images(self, truth: Value) -> np.ndarray:
        """(R,) the image of each row."""
        rows = truth.read().reshape(-1, ROW)
        images, classes = np.trunc(rows[:, 0]), np.trunc(rows[:, 1])
        bad = ~np.isfinite(rows)
        bad[:, [2, 7]] = False  # the instance says nothing, and difficult is not 0 or it is
        bad[:, 0] = ~((images >= -1) & (images < self.geometry.images))
        limit = self.geometry.classes if self.matching.limits_classes else np.inf
        bad[:, 1] = ~((classes >= 0) & (classes < limit) & (classes != self.geometry.background))
        bad[images == -1] = False
        if bad.any():
            place = int(bad.argmax())
            self.refuse(truth, place, rows.reshape(-1)[place])
        whole: np.ndarray = images.astype(np.int64)
        return whole

    def refuse(self, truth: Value, place: int, number: float) -> NoReturn:
        """Raises: LabelError about the element `number` at a place in C order."""
        row, column = divmod(place, ROW)
        image, most = truth.read().reshape(-1, ROW)[row:, 0], self.geometry.images - 1
        if column == 0:
            expected = f"the image's number from 0 to {most}, or -1 for an empty row"
        elif column == 1:
            last = f"to {self.geometry.classes - 1}" if self.matching.limits_classes else "up"
            expected = f"a class from 0 {last}, but not {self.geometry.background}, the background"
        else:
            expected = "a finite coordinate"
        # The sample that an index begins with is the image, by which the data layer knows its file.
        sample = int(image[0]) if image.size and 0 <= image[0] <= most else 0
        raise LabelError(
            self.where,
            truth,
            (sample, 0, row, column),
            f"row {row} of the boxes: expected {expected}, got {number:g}. Correct the data, or "
            "give num_classes and background_label_id as it is labelled.",
        )


def classes_of(truth: Value) -> np.ndarray:
    """(R,) the class of each row; 0 where that is no number, in rows that do not count."""
    numbers = np.nan_to_num(truth.read().reshape(-1, ROW)[:, 1])
    classes: np.ndarray = np.clip(numbers, 0, np.iinfo(np.int32).max).astype(np.int64)
    return classes


def predicted_boxes(geometry: MultiBox, image: int, locations: Value, priors: Value) -> np.ndarray:
    """(P, L, 4): the boxes that the locations of an image mean."""
    found = locations.read().reshape(geometry.locations_shape)[image]
    prior, variance = priors.read().reshape(2, geometry.priors, 4)
    decoded = boxes.decode(
        prior, variance, found.swapaxes(0, 1), geometry.code_type, geometry.variance_in_target
    )
    predicted: np.ndarray = decoded.swapaxes(0, 1)
    return predicted


class MatchBoxes(Op):
    """The row of the truth that each prior stands for.

    Of all pairs of a row and a box that overlap, those that overlap most are matched first, each
    row and box once; of equal ones that with the lower prior, then the lower row. Then other boxes
    may find their best row.
    """

    def __init__(self, ops: Ops, geometry: MultiBox, matching: Matching, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.matching = matching
        self.truth = TruthReader(geometry, matching, where)

    @step(reads="locations priors truth", writes="out")
    def forward(self, locations: Value, priors: Value, truth: Value, *, out: Value) -> None:
        """locations: (N, P, L, 4) elements.  priors: (2, P, 4) elements, boxes and variances.
        truth: (R, 8) elements.  out: (N, G, P) int32, rows of the truth, FREE or IGNORED; all of an
        image without boxes is IGNORED.

        Raises: LabelError where a row of the truth is of no image or class, or has nan.
        """
        geometry = self.geometry
        rows = self.truth.read(truth)
        matches = out.write().reshape(geometry.images, geometry.groups, geometry.priors)
        for image in range(geometry.images):
            own = np.flatnonzero(rows.images == image)
            if not own.size:
                matches[image] = geometry.IGNORED
                continue
            if geometry.by_prior:
                candidates = priors.read().reshape(2, geometry.priors, 1, 4)[0]
            else:
                candidates = predicted_boxes(geometry, image, locations, priors)
            for group in range(geometry.groups):
                chosen = own if geometry.groups == 1 else own[rows.classes[own] == group]
                matches[image, group] = self._match(
                    candidates[:, group], rows.boxes[chosen], chosen
                )

    def _match(self, candidates: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """candidates: (P, 4).  truth: (R', 4), boxes of the rows `rows`.  Returns (P,)."""
        matches = np.full(len(candidates), self.geometry.FREE, np.int32)
        overlaps = boxes.overlaps(truth, candidates)
        overlaps[~(overlaps > LEAST_OVERLAP)] = 0  # nan, too
        if self.matching.skips_crossing:
            crossing = ((candidates < 0) | (candidates > 1)).any(axis=1)
            overlaps[:, crossing] = 0
            matches[crossing] = self.geometry.IGNORED
        if not (rows.size and matches.size):
            return matches
        self._match_best(overlaps, rows, matches)
        most = overlaps.max(axis=0)
        if self.matching.per_prediction:
            near = (matches == self.geometry.FREE) & (most > 0)
            near &= most >= self.matching.threshold
            matches[near] = rows[overlaps.argmax(axis=0)[near]]
        matches[(matches == self.geometry.FREE) & (most >= self.matching.most)] = (
            self.geometry.IGNORED
        )
        return matches

    @staticmethod
    def _match_best(overlaps: np.ndarray, rows: np.ndarray, matches: np.ndarray) -> None:
        """Gives each of the rows its best box among those that no better pair has taken."""
        left = overlaps.copy()
        best = left.argmax(axis=1)  # the lowest one of equal boxes
        most = left[np.arange(len(rows)), best]
        while (greatest := most.max()) > 0:
            equal = np.flatnonzero(most == greatest)
            row = equal[best[equal].argmin()]
            box = best[row]
            matches[box] = rows[row]
            left[:, box] = 0
            most[row] = 0
            for other in np.flatnonzero((best == box) & (most > 0)):
                best[other] = left[other].argmax()
                most[other] = left[other, best[other]]
