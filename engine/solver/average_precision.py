"""Average precision: what the rows of DetectionEvaluate layers, over many batches, come to.

    11point      the mean, over recalls of 0, 0.1, ..., 1, of the best precision at that recall or a
                 higher one (Pascal VOC 2007)
    MaxIntegral  the area under the best precision at each recall or a higher one (VOC 2012, ILSVRC)
    Integral     the area under the precision itself

Numbers are float32, and sums have the fork's order: a recall of 0.7 lies below the double 0.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from caffepy.engine.core.errors import DataError

_HEAD = -1  # in place of the image: label, number of objects

Measure = Callable[[np.ndarray, np.ndarray], np.float32]  # of precision and recall, scores falling


class LabelCounts(NamedTuple):
    """How many objects of a label there are, how many detections, and how many of these hit one."""

    objects: int
    detections: int
    hits: int


class DetectionPool:
    """The detections of several batches, by label.

    where: the blob that they are from, for messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._objects: dict[int, int] = {}
        self._found: list[np.ndarray] = []  # (n, 4): label, score, hit, miss

    def add(self, rows: np.ndarray) -> None:
        """rows: (n, 5), a DetectionEvaluate layer's top of one batch."""
        heads = rows[:, 0] == _HEAD
        for label, count in rows[heads, 1:3].astype(np.int64).tolist():
            self._objects[label] = self._objects.get(label, 0) + count
        counted = ~heads & (rows[:, 3:] != 0).any(axis=1)
        self._found.append(rows[counted, 1:].astype(np.float32))

    def average_precisions(self, version: str) -> dict[int, float | None]:
        """By label, in order; None where nothing was found, which counts as 0.

        version: one of VERSIONS.  Raises: DataError where a label has more hits than objects.
        """
        measure = VERSIONS[version]
        return {label: self._precision(label, rows, measure) for label, rows in self._by_label()}

    def counts(self) -> dict[int, LabelCounts]:
        """By label, in order."""
        return {
            label: LabelCounts(self._objects[label], len(rows), int(rows[:, 2].sum()))
            for label, rows in self._by_label()
        }

    def _by_label(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each label with what was found of it, scores falling."""
        found = np.concatenate(self._found) if self._found else np.empty((0, 4), np.float32)
        found = found[np.argsort(-found[:, 1], kind="stable")]
        for label in sorted(self._objects):
            yield label, found[found[:, 0] == label]

    def _precision(self, label: int, rows: np.ndarray, measure: Measure) -> float | None:
        if not len(rows):
            return None
        objects = self._objects[label]
        hits, misses = np.cumsum(rows[:, 2:].astype(np.int64), axis=0).T
        if hits[-1] > objects:
            raise DataError(
                f"{self._where}: label {label}: expected at most as many hits as objects, "
                f"{objects}, got {hits[-1]}. Give the solver the top of a DetectionEvaluate layer."
            )
        if not objects:
            return 0.0
        precision = hits.astype(np.float32) / (hits + misses).astype(np.float32)
        recall = hits.astype(np.float32) / np.float32(objects)
        return float(measure(precision, recall))


def mean_average_precision(by_label: dict[int, float | None]) -> float:
    """The mean over all labels, those included of which nothing was found."""
    total = _total(np.array([each or 0 for each in by_label.values()], np.float32))
    return float(total / np.float32(max(len(by_label), 1)))


def _eleven_point(precision: np.ndarray, recall: np.ndarray) -> np.float32:
    best = _best_from_here(precision)
    # recall never falls: the first place where it reaches each of the eleven
    places = np.searchsorted(recall.astype(np.float64), [tenth / 10 for tenth in range(10, -1, -1)])
    reached = places < len(best)
    values = np.where(reached, best[np.minimum(places, len(best) - 1)], np.float32(0))
    return _total(values / np.float32(11))


def _max_integral(precision: np.ndarray, recall: np.ndarray) -> np.float32:
    return _integral(_best_from_here(precision), recall)


def _integral(precision: np.ndarray, recall: np.ndarray) -> np.float32:
    return _total(precision * np.diff(recall, prepend=np.float32(0)))


VERSIONS: dict[str, Measure] = {
    "11point": _eleven_point,
    "MaxIntegral": _max_integral,
    "Integral": _integral,
}


def _best_from_here(precision: np.ndarray) -> np.ndarray:
    """The largest of each precision and those after it."""
    best: np.ndarray = np.maximum.accumulate(precision[::-1])[::-1]
    return best


def _total(terms: np.ndarray) -> np.float32:
    """Their sum, one after the other."""
    total: np.float32 = np.cumsum(terms, dtype=np.float32)[-1] if len(terms) else np.float32(0)
    return total
