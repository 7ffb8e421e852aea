"""Which detections hit an object that is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.data.boxes import overlaps
from caffepy.engine.data.image_sizes import ImageSize, boxes_in_pixels
from caffepy.proto.caffe_pb2 import DetectionEvaluateParameter, ResizeParameter

DETECTION, OBJECT, VERDICT = 7, 8, 5  # numbers in a row
MOST_CLASSES = 1 << 24  # of which a float32 holds every number
_NONE = -1  # in place of an image or a label
_DIFFICULT = 7  # the place in an object's row


class Judge:
    """Compares the detections in images with the objects there, as DetectionEvaluate's fields say.

    sizes: of the images in the order in which they come, the first one after the last; none where
    overlaps are those of shares.  resize: how they were made to fit into the net.
    where: the layer, for messages.

    Attributes: labels (K,), those that objects may have, in order.
    """

    def __init__(
        self,
        param: DetectionEvaluateParameter,
        sizes: Sequence[ImageSize],
        resize: ResizeParameter | None,
        where: str,
    ) -> None:
        self._param = param
        self._sizes = sizes
        self._resize = resize
        self._where = where
        self._next_size = 0
        self._threshold = np.float32(param.overlap_threshold)
        labels = np.arange(param.num_classes)
        self.labels = labels[labels != param.background_label_id]

    def rows(
        self, detections: np.ndarray, objects: np.ndarray, names: tuple[str, str]
    ) -> np.ndarray:
        """detections: (D, 7) image, label, score and box.  objects: (G, 8) image, label, instance,
        box and whether it is difficult.  names: of both, for messages.

        Returns (K + E, 5): the K labels with the number of their objects, then of the E detections
        image, label, score, hit and miss, as the layer's page has it.
        Raises: DataError for a label that does not exist, and for nan.
        """
        detections, objects = (rows.astype(np.float32) for rows in (detections, objects))
        for rows in (detections, objects):
            rows[:, :2] = np.trunc(rows[:, :2])  # images and labels
        ends = np.flatnonzero(objects[:, 0] == _NONE)
        objects = objects[: ends[0]] if len(ends) else objects
        self._check(objects, np.arange(len(objects)), names[1], slice(0, 7))
        images = np.unique(detections[detections[:, 0] != _NONE, 0])
        given = np.flatnonzero((detections[:, :2] != _NONE).all(axis=1))
        self._check(detections, given, names[0], slice(0, 3))
        detections = detections[given]
        # stable: within an image and label they keep their order
        detections = detections[np.lexsort((detections[:, 1], detections[:, 0]))]
        head = np.full((len(self.labels), VERDICT), _NONE, np.float32)
        head[:, 1] = self.labels
        head[:, 2] = self._counts(objects)
        rows = np.concatenate([head, self._judged(detections, objects, images)])
        if self._sizes:
            self._next_size = (self._next_size + len(images)) % len(self._sizes)
        return rows

    def state(self) -> dict[str, Any]:
        """Which size is next."""
        return {"size": self._next_size} if self._sizes else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        self._next_size = state.get("size", 0) % max(len(self._sizes), 1)

    def _counts(self, objects: np.ndarray) -> np.ndarray:
        """(K,) the objects of each label that count."""
        if not self._param.evaluate_difficult_gt:
            objects = objects[objects[:, _DIFFICULT] == 0]
        counts: np.ndarray = (objects[:, 1] == self.labels[:, None]).sum(axis=1)
        return counts

    def _check(self, rows: np.ndarray, used: np.ndarray, name: str, numbers: slice) -> None:
        """Raises: DataError where a used row has a label that is none, or nan in `numbers`."""
        bad = ~np.isin(rows[used, 1], self.labels)
        not_numbers = np.isnan(rows[used, numbers]).any(axis=1)
        if not_numbers.any():
            row = int(used[not_numbers.argmax()])
            problem = f"expected numbers, got {_shown(rows[row])}. Look for nan in what gives it."
        elif bad.any():
            row = int(used[bad.argmax()])
            problem = (
                f"expected a label of 0 to {self._param.num_classes - 1}, but not "
                f"{self._param.background_label_id}, which is the background's, got "
                f"{rows[row, 1]:g}. Correct the labels, or num_classes."
            )
        else:
            return
        raise DataError(f"{self._where}: bottom '{name}', row {row}: {problem}")

    def _judged(
        self, detections: np.ndarray, objects: np.ndarray, images: np.ndarray
    ) -> np.ndarray:
        """detections: (E, 7), by image and label.  objects: (G, 8).  images: those with rows.
        Returns (E, 5): image, label, score, hit, miss."""
        rows = np.zeros((len(detections), VERDICT), np.float32)
        rows[:, :3] = detections[:, :3]
        rows[:, 4] = 1
        starts = np.flatnonzero((np.diff(detections[:, :2], axis=0, prepend=np.nan) != 0).any(1))
        for start, end in zip(starts, [*starts[1:], len(detections)]):
            there = objects[(objects[:, :2] == detections[start, :2]).all(axis=1)]
            if not len(there):
                continue
            order = start + np.argsort(-detections[start:end, 2], kind="stable")
            place = int(np.searchsorted(images, detections[start, 0])) + self._next_size
            common = self._overlaps(detections[order, 3:], there[:, 3:7], place)
            nearest = common.argmax(axis=1)
            found = common.max(axis=1) >= self._threshold
            rows[start:end, 2] = detections[order, 2]
            rows[start:end, 3:] = _verdicts(nearest, found)
            if not self._param.evaluate_difficult_gt:
                rows[start:end, 3:][found & (there[nearest, _DIFFICULT] != 0)] = 0
        return rows

    def _overlaps(self, boxes: np.ndarray, targets: np.ndarray, place: int) -> np.ndarray:
        """boxes: (A, 4).  targets: (B, 4).  place: of their image among the sizes.
        Returns (A, B): intersection over union; 0 for boxes that are nan or do not meet."""
        ends = 0
        if self._sizes:
            size = self._sizes[place % len(self._sizes)]
            boxes, targets = (
                boxes_in_pixels(each, size, self._resize) for each in (boxes, targets)
            )
            ends = 1
        with np.errstate(invalid="ignore", over="ignore"):  # of a net that has gone astray
            common: np.ndarray = np.nan_to_num(overlaps(boxes[:, None], targets, ends))
        return common


def _verdicts(nearest: np.ndarray, found: np.ndarray) -> np.ndarray:
    """nearest: (n,) the object of each detection, scores falling.  found: (n,) whether it overlaps
    enough.  Returns (n, 2): hit, miss; of several on one object the first is the hit."""
    hit = np.zeros(len(nearest), bool)
    candidates = np.flatnonzero(found)
    _, first = np.unique(nearest[candidates], return_index=True)
    hit[candidates[first]] = True
    return np.stack([hit, ~hit], axis=1)


def _shown(row: np.ndarray) -> str:
    return "(" + ", ".join(f"{number:g}" for number in row) + ")"
