"""Detections among the boxes of many priors, on numpy: the reference.

Candidates lie in (G, K, ...): a row for each group of `DetectionGeometry`, in it the candidates by
falling score, of equal ones the lower prior first, and then empty places.
"""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.detection_geometry import DetectionGeometry
from caffepy.engine.ops.numpy.boxes import decode, overlaps_between
from caffepy.engine.ops.numpy.ordering import largest

_NARROWING = 0.5  # thresholds above it shrink by eta


class DetectionOutput(Op):
    """Picks the boxes with the highest scores that do not overlap."""

    def __init__(self, ops: Ops, geometry: DetectionGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry

    def detect(self, loc: Value, conf: Value, priors: Value) -> np.ndarray:
        """loc: (images, priors, 4), or (images, priors, classes, 4) where it is not shared.
        conf: (images, priors, classes).  priors: (2, priors, 4), boxes and variances.
        All of them as that many elements in C order.

        Returns (D, 7): image, label, score and box, by image, label and falling score.
        """
        geometry = self.geometry
        sizes = geometry.images, geometry.priors
        scores = conf.read().reshape(*sizes, geometry.classes)
        locations = loc.read().reshape(*sizes, 1 if geometry.shared else geometry.classes, 4)
        boxes, variances = priors.read().reshape(2, geometry.priors, 4)
        places, counts = _candidates(scores, geometry)
        image = np.arange(geometry.groups)[:, None] // max(len(geometry.labels), 1)
        label = np.tile(np.array(geometry.labels, np.int64), geometry.images)[:, None]
        with np.errstate(invalid="ignore", over="ignore"):  # a net that has gone astray
            decoded = decode(
                boxes[places],
                variances[places],
                locations[image, places, 0 if geometry.shared else label],
                geometry.code_type,
                geometry.variance_encoded_in_target,
            )
            kept = _suppressed(decoded, counts, geometry)
        return best_of_images(kept, scores[image, places, label], decoded, geometry)


def best_of_images(
    kept: np.ndarray, scores: np.ndarray, boxes: np.ndarray, geometry: DetectionGeometry
) -> np.ndarray:
    """kept: (G, K) bool.  scores: (G, K).  boxes: (G, K, 4).  Returns rows as `detect` does: those
    kept, of each image at most keep_top_k."""
    group, place = np.nonzero(kept)
    labels = np.array(geometry.labels, boxes.dtype)
    rows: np.ndarray = np.empty((len(group), 7), boxes.dtype)
    rows[:, 0], which = np.divmod(group, max(len(labels), 1))
    rows[:, 1] = labels[which]
    rows[:, 2], rows[:, 3:] = scores[group, place], boxes[group, place]
    if geometry.keep_top_k < 0 or not len(rows):
        return rows
    ends = np.searchsorted(rows[:, 0], np.arange(1, geometry.images))
    best = [
        start + np.sort(np.argsort(-part, kind="stable")[: geometry.keep_top_k])
        for part, start in zip(np.split(rows[:, 2], ends), [0, *ends], strict=True)
    ]
    rows = rows[np.concatenate(best)]
    return rows


def _candidates(scores: np.ndarray, geometry: DetectionGeometry) -> tuple[np.ndarray, np.ndarray]:
    """scores: (N, P, C).  Returns (G, K) places among the priors, 0 where there is no candidate,
    and (G,) how many there are."""
    threshold = scores.dtype.type(geometry.threshold)
    columns = np.ascontiguousarray(scores.transpose(0, 2, 1)[:, list(geometry.labels)])
    found = []
    for column in columns.reshape(geometry.groups, geometry.priors):
        places = np.flatnonzero(column > threshold)
        if len(places) > geometry.most:
            places = places[largest(column[places], geometry.most)]
        found.append(places[np.argsort(-column[places], kind="stable")])
    counts = np.array([len(places) for places in found], np.int64)
    table = np.zeros((geometry.groups, counts.max(initial=0)), np.int64)
    for row, places in zip(table, found, strict=True):
        row[: len(places)] = places
    return table, counts


def _suppressed(boxes: np.ndarray, counts: np.ndarray, geometry: DetectionGeometry) -> np.ndarray:
    """boxes: (G, K, 4).  counts: (G,) candidates.  Returns (G, K) bool: those that stay. All groups
    at once, in each round the next box of each that stays."""
    kept = np.zeros(boxes.shape[:2], bool)
    group: np.ndarray = np.flatnonzero(counts)
    sides = np.ascontiguousarray(np.moveaxis(boxes[group], -1, 0))  # one by one: faster
    highest = np.zeros(sides.shape[1:], boxes.dtype)  # overlaps with those that stay
    highest[np.arange(boxes.shape[1]) >= counts[group, None]] = np.nan
    limit = np.full(len(group), geometry.nms_threshold, boxes.dtype)
    first = 0  # the boxes before it are done with in all groups
    while len(group):
        fits = highest[:, first:] <= limit[:, None]
        some = fits.any(axis=1)
        if not some.all():
            group, limit, highest, fits = group[some], limit[some], highest[some], fits[some]
            sides = sides[:, some]
        if not len(group):
            break
        rows = np.arange(len(group))
        place = fits.argmax(axis=1) + first
        kept[group, place] = True
        first = int(place.min())
        rest = highest[:, first:]
        theirs = np.moveaxis(sides[:, :, first:], 0, -1)
        own = np.moveaxis(sides[:, rows, place], 0, -1)[:, None]
        np.maximum(rest, overlaps_between(own, theirs), out=rest)
        highest[rows, place] = np.nan  # done with
        if geometry.eta < 1:
            limit = np.where(limit > _NARROWING, limit * limit.dtype.type(geometry.eta), limit)
    return kept
