"""DetectionEvaluate: which detections hit an object that is there."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.image_sizes import (
    ImageSize,
    boxes_in_pixels,
    read_image_sizes,
    resize_of,
)
from caffepy.proto.caffe_pb2 import ResizeParameter

_DETECTION, _OBJECT, _ROW = 7, 8, 5  # numbers in a row
_DIFFICULT = 7  # the place in an object's row
_NONE = -1  # in place of an image or a label


@register_layer("DetectionEvaluate")
class DetectionEvaluateLayer(Layer):
    """Compares detections with what is in the images. Solvers with `eval_type: "detection"`, and
    `caffepy test_detection`, make average precisions of its top.

    bottom[0]: (1, 1, D, 7) detections (image, label, score, xmin, ymin, xmax, ymax); rows with
    image or label -1 stand for none
    bottom[1]: (1, 1, G, 8) objects (image, label, instance, xmin, ymin, xmax, ymax, difficult); a
    row with image -1 ends them
    top[0]: (1, 1, K + E, 5): for each of the K labels but the background's (-1, label, number of
    objects, -1, -1), then for each of the E detections (image, label, score, hit, miss), by image,
    label and falling score (in their order where the image has no object of the label)
    detection_evaluate_param: num_classes: with the background's; background_label_id (0): the one
    that no object has, none where there is no such class;
    overlap_threshold (0.5): a hit has at least this intersection over union with an object that no
    detection of a higher score has hit; evaluate_difficult_gt (true): with false, difficult objects
    do not count, and a detection of one is neither hit nor miss; name_size_file (none): a text file
    with name, height and width of each image on a line, in their order, with which overlaps are
    those of boxes in pixels, both ends included, and whose next line is taken for each image that
    has rows in bottom[0], the first one after the last; resize_param (none): how the images were
    made to fit into the net, for name_size_file, of which resize_mode, height, width, height_scale
    and width_scale count; output_logits (false): another fork's, refused

    Detections are compared by the object that they overlap most, also where that one is hit
    already. The layer is for phase TEST, and runs on the host.

    Raises: NetError for a missing num_classes, and where a gradient is asked for; ShapeError for
    other rows; DataError for a label that does not exist, a score or an object that is nan, and for
    what is wrong with name_size_file.
    Source: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, and the fork to it.

    Example: det (1, 1, 3, 7), label (1, 1, 2, 8) -> eval (1, 1, 23, 5)
        layer { name: "eval" type: "DetectionEvaluate" bottom: "det" bottom: "label" top: "eval"
          detection_evaluate_param { num_classes: 21 background_label_id: 20 } }
    """

    bottoms = 2
    records = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        given = self.param.detection_evaluate_param
        self.refuse_fork_fields(given, others=("output_logits",))
        self.refuse_fork_fields(given.resize_param)
        if not 0 < given.num_classes <= 2**24:  # labels are float: more are not told apart
            self.error(
                "detection_evaluate_param.num_classes: expected at least 1, up to 2^24, got "
                f"{given.num_classes}. Set it to the number of classes, the background included."
            )
        self._threshold = np.float32(given.overlap_threshold)
        self._difficult_count = given.evaluate_difficult_gt
        self._sizes: list[ImageSize] = []
        self._next_size = 0
        self._resize: ResizeParameter | None = None
        if given.name_size_file:
            path = self.find_file(given.name_size_file, "detection_evaluate_param.name_size_file")
            self._sizes = read_image_sizes(path)
            self._resize = resize_of(given, f"{self.where}: detection_evaluate_param")

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        for blob, width in zip(bottom, (_DETECTION, _OBJECT), strict=True):
            if blob.num_axes != 4 or blob.shape[:2] != (1, 1) or blob.shape[3] != width:
                self.shape_error(
                    f"bottom '{blob.name}'",
                    f"rows of {width} numbers, shape (1, 1, rows, {width})",
                    f"shape {blob.shape}",
                    "Give it the top of a DetectionOutput layer, then the labels of an "
                    "AnnotatedData layer.",
                )
        given = self.param.detection_evaluate_param
        labels = given.num_classes - (given.background_label_id < given.num_classes)
        top[0].reshape((1, 1, labels + bottom[0].shape[2], _ROW))
        return True

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        """All but the background's. Made when the net is known to fit into memory."""
        given = self.param.detection_evaluate_param
        labels = np.arange(given.num_classes)
        others: np.ndarray = labels[labels != given.background_label_id]
        return others

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        detections, objects = (
            blob.data.read().reshape(blob.shape[2:]).astype(np.float32) for blob in bottom
        )
        for rows in (detections, objects):
            rows[:, :2] = np.trunc(rows[:, :2])  # images and labels
        ends = np.flatnonzero(objects[:, 0] == _NONE)
        objects = objects[: ends[0]] if len(ends) else objects
        self._check(objects, np.arange(len(objects)), bottom[1].name, slice(0, 7))
        images = np.unique(detections[detections[:, 0] != _NONE, 0])
        given = np.flatnonzero((detections[:, :2] != _NONE).all(axis=1))
        self._check(detections, given, bottom[0].name, slice(0, 3))
        detections = detections[given]
        # stable: within an image and label they keep their order
        detections = detections[np.lexsort((detections[:, 1], detections[:, 0]))]
        head = np.full((len(self._labels), _ROW), _NONE, np.float32)
        head[:, 1] = self._labels
        counted = objects if self._difficult_count else objects[objects[:, _DIFFICULT] == 0]
        head[:, 2] = (counted[:, 1] == self._labels[:, None]).sum(axis=1)
        rows = np.concatenate([head, self._judged(detections, objects, images)])
        top[0].reshape((1, 1, *rows.shape))
        top[0].data.write()[...] = rows
        if self._sizes:
            self._next_size = (self._next_size + len(images)) % len(self._sizes)

    def state(self) -> dict[str, Any]:
        return {"size": self._next_size} if self._sizes else {}

    def restore(self, state: dict[str, Any]) -> None:
        self._next_size = state.get("size", 0) % max(len(self._sizes), 1)

    def _check(self, rows: np.ndarray, used: np.ndarray, name: str, numbers: slice) -> None:
        """Raises: DataError where a used row has a label that is none, or nan in `numbers`."""
        bad = ~np.isin(rows[used, 1], self._labels)
        not_numbers = np.isnan(rows[used, numbers]).any(axis=1)
        if not_numbers.any():
            row = int(used[not_numbers.argmax()])
            problem = f"expected numbers, got {_shown(rows[row])}. Look for nan in what gives it."
        elif bad.any():
            row = int(used[bad.argmax()])
            given = self.param.detection_evaluate_param
            problem = (
                f"expected a label of 0 to {given.num_classes - 1}, but not "
                f"{given.background_label_id}, which is the background's, got {rows[row, 1]:g}. "
                "Correct the labels, or num_classes."
            )
        else:
            return
        raise DataError(f"{self.where}: bottom '{name}', row {row}: {problem}")

    def _judged(
        self, detections: np.ndarray, objects: np.ndarray, images: np.ndarray
    ) -> np.ndarray:
        """detections: (E, 7), by image and label.  objects: (G, 8).  images: those with rows.
        Returns (E, 5): image, label, score, hit, miss."""
        rows = np.zeros((len(detections), _ROW), np.float32)
        rows[:, :3] = detections[:, :3]
        rows[:, 4] = 1
        starts = np.flatnonzero((np.diff(detections[:, :2], axis=0, prepend=np.nan) != 0).any(1))
        for start, end in zip(starts, [*starts[1:], len(detections)]):
            there = objects[(objects[:, :2] == detections[start, :2]).all(axis=1)]
            if not len(there):
                continue
            order = start + np.argsort(-detections[start:end, 2], kind="stable")
            boxes, targets, extra = detections[order, 3:], there[:, 3:7], 0
            if self._sizes:
                place = int(np.searchsorted(images, detections[start, 0])) + self._next_size
                size = self._sizes[place % len(self._sizes)]
                boxes, targets = (
                    boxes_in_pixels(each, size, self._resize) for each in (boxes, targets)
                )
                extra = 1
            common = _overlaps(boxes, targets, extra)
            nearest = common.argmax(axis=1)
            found = common.max(axis=1) >= self._threshold
            rows[start:end, 2] = detections[order, 2]
            rows[start:end, 3:] = _verdicts(nearest, found)
            if not self._difficult_count:
                rows[start:end, 3:][found & (there[nearest, _DIFFICULT] != 0)] = 0
        return rows


def _overlaps(boxes: np.ndarray, targets: np.ndarray, extra: int) -> np.ndarray:
    """boxes: (A, 4).  targets: (B, 4).  Returns (A, B): intersection over union; 0 for boxes that
    are nan or do not meet. extra: 1 where both ends belong to a box, as in pixels."""
    # boxes of a net that has gone astray
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        low = np.maximum(boxes[:, None, :2], targets[:, :2])
        high = np.minimum(boxes[:, None, 2:], targets[:, 2:])
        common = np.where((high < low).any(axis=2), 0, (high - low + extra).prod(axis=2))
        union = _areas(boxes, extra)[:, None] + _areas(targets, extra) - common
        shares = common / union
    return np.where(common > 0, np.nan_to_num(shares), 0)


def _areas(boxes: np.ndarray, extra: int) -> np.ndarray:
    """boxes: (n, 4).  Returns (n,)."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return np.where((sizes < 0).any(axis=1), 0, (sizes + extra).prod(axis=1))


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
