"""Boxes around objects in images, and what becomes of them when the image is cut or scaled.

Places are (n, 4) float32: xmin, ymin, xmax, ymax in shares of the image's width and height. So is a
window, (4,), in shares of the image that it is cut out of. Computed in float32, as in the SSD fork.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.proto.caffe_pb2 import AnnotatedDatum, EmitConstraint, ResizeParameter

WHOLE = np.array([0, 0, 1, 1], np.float32)  # the window that takes all of an image
_FAR = 1e9  # places beyond it are garbage, whose areas overflow
COLUMNS = 8  # of a label: item, group label, instance, four of the place, difficult


@dataclass(frozen=True)
class Boxes:
    """The boxes of an image. places: (n, 4).  kinds: (n, 3) int64, group label, instance, and
    whether it is difficult."""

    places: np.ndarray
    kinds: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def rows(self, item: int, out: np.ndarray) -> None:
        """Writes them to out (n, 8), as boxes of image `item` of the batch."""
        out[:, 0] = item
        out[:, 1:3] = self.kinds[:, :2]
        out[:, 3:7] = self.places
        out[:, 7] = self.kinds[:, 2]

    def cut(self, window: np.ndarray, emit: EmitConstraint | None) -> Boxes:
        """What is seen of them in a window, in shares of that; without those that nothing is seen
        of, or that `emit` leaves out."""
        places = self.places
        least, most = np.tile(window[:2], 2), np.tile(window[2:], 2)
        seen = ((places[:, :2] < window[2:]) & (places[:, 2:] > window[:2])).all(1)
        if emit is not None:
            seen &= _emitted(places, window, emit)
        places = np.clip((places[seen] - least) / (most - least), 0, 1)
        left = areas(places) > 0
        return Boxes(places[left], self.kinds[seen][left])

    def mirrored(self) -> Boxes:
        """As they are in the mirrored image."""
        places = self.places.copy()
        places[:, [0, 2]] = 1 - self.places[:, [2, 0]]
        return replace(self, places=places)

    def resized(self, param: ResizeParameter, height: int, width: int) -> Boxes:
        """As they are when resize_param has scaled, and padded, the image of height x width."""
        single = np.float32
        old = np.array([width, height] * 2, single)
        new, border = _new_size(param, height, width)
        # a border is around the scaled image, and places are held back at the new image's edge
        places = self.places * old * (new - 2 * border) / old
        places[:, :2] = border[:2] + np.maximum(places[:, :2], 0)
        places[:, 2:] = border[2:] + np.minimum(places[:, 2:], new[2:])
        return replace(self, places=(places / new).astype(single))

    def extrapolated(
        self, param: ResizeParameter, height: int, width: int, window: np.ndarray, where: str
    ) -> Boxes:
        """In units of resize_param's height_scale and width_scale, where FIT_SMALL_SIZE has both.
        window: what was taken of the scaled image.

        Raises: DataError, beginning with `where`, where that is smaller than they are.
        """
        scale = np.array([param.width_scale, param.height_scale] * 2, np.float32)
        if param.resize_mode != ResizeParameter.FIT_SMALL_SIZE or not scale.all():
            return self
        new, _ = _new_size(param, height, width)
        taken = new * np.tile(window[2:] - window[:2], 2)
        if (taken < scale).any():
            raise DataError(
                f"{where}: expected at least resize_param's height_scale x width_scale "
                f"{param.height_scale} x {param.width_scale} pixels, got {taken[1]:g} x "
                f"{taken[0]:g}. Make height and width larger, or the scales smaller."
            )
        return replace(self, places=self.places * taken / scale)


NONE = Boxes(np.empty((0, 4), np.float32), np.empty((0, 3), np.int64))


def read(record: AnnotatedDatum, where: str) -> Boxes:
    """The boxes of a record, in the order they are stored.

    Raises: DataError, beginning with `where`, for places that are no numbers.
    """
    places, kinds = list[float](), list[int]()
    for group in record.annotation_group:
        for annotation in group.annotation:
            box = annotation.bbox
            places += (box.xmin, box.ymin, box.xmax, box.ymax)
            kinds += (group.group_label, annotation.instance_id, box.difficult)
    if not kinds:
        return NONE
    found = np.array(places, np.float32).reshape(-1, 4)
    good = (np.abs(found) < _FAR).all(1)  # not nan
    if not good.all():
        number = int(np.flatnonzero(~good)[0])
        raise DataError(
            f"{where}: expected boxes of finite numbers, got {found[number].tolist()} for box "
            f"{number}. Correct its annotation, and make the database again."
        )
    return Boxes(found, np.array(kinds, np.int64).reshape(-1, 3))


def window_of(top: int, left: int, size: tuple[int, int], image: tuple[int, int]) -> np.ndarray:
    """The window of `size` (height, width) at top, left of an image (height, width)."""
    edges = np.array([left, top, left + size[1], top + size[0]], np.float32)
    return edges / np.array([image[1], image[0]] * 2, np.float32)


def areas(places: np.ndarray, ends: int = 0) -> np.ndarray:
    """(n,): 0 for those that end before they begin.

    ends: added to both lengths, 1 where the pixels at both ends belong to a box.
    """
    wide, high = places[..., 2] - places[..., 0], places[..., 3] - places[..., 1]
    return _area(wide, high, ends)


def shared_areas(places: np.ndarray, others: np.ndarray, ends: int = 0) -> np.ndarray:
    """The areas that places (..., 4) have in common with others (..., 4)."""
    wide, high = (
        np.minimum(places[..., axis + 2], others[..., axis + 2])
        - np.maximum(places[..., axis], others[..., axis])
        for axis in (0, 1)
    )
    return _area(wide, high, ends)


def coverage(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of each place that is in the other one."""
    shared = shared_areas(places, others)
    share: np.ndarray = np.divide(
        shared, areas(places), out=np.zeros_like(shared), where=shared > 0
    )
    return share


def overlaps(places: np.ndarray, others: np.ndarray, ends: int = 0) -> np.ndarray:
    """Intersection over union; 0 where they do not meet, or one has nan."""
    shared = shared_areas(places, others, ends)
    union = areas(places, ends) + areas(others, ends) - shared
    overlap: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return overlap


def _area(wide: np.ndarray, high: np.ndarray, ends: int) -> np.ndarray:
    """Of lengths that may be negative."""
    if ends:
        wide, high = (np.where(length < 0, 0, length + ends) for length in (wide, high))
    area: np.ndarray = np.maximum(wide, 0) * np.maximum(high, 0)
    return area


def _emitted(places: np.ndarray, window: np.ndarray, emit: EmitConstraint) -> np.ndarray:
    """Which boxes a constraint lets through."""
    if emit.emit_type == EmitConstraint.MIN_OVERLAP:
        return np.asarray(coverage(places, window) > emit.emit_overlap)
    middle = (places[:, :2] + places[:, 2:]) / 2
    return np.asarray(((middle >= window[:2]) & (middle <= window[2:])).all(1))


def _new_size(param: ResizeParameter, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(4,), (4,) float32: the width and height, twice, that resize_param makes of an image, and
    the width and height of its border, both not rounded."""
    single = np.float32
    wide, high = single(param.width), single(param.height)
    aspect, wanted = single(width) / single(height), wide / high
    border = np.zeros(4, single)
    if param.resize_mode == ResizeParameter.FIT_SMALL_SIZE:
        if aspect < wanted:
            high = wide / aspect
        else:
            wide = aspect * high
    elif param.resize_mode == ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        if aspect > wanted:
            border[1::2] = (high - wide / aspect) / 2
        else:
            border[::2] = (wide - aspect * high) / 2
    return np.array([wide, high] * 2, single), border
