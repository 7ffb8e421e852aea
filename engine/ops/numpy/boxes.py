"""Arithmetic of boxes (xmin, ymin, xmax, ymax) on plain float arrays, whose dtype it keeps.

Coordinates are fractions of the image: a box from 0.25 to 0.5 is 0.25 wide, no pixel is added. How
locations are written relative to priors is named as in PriorBoxParameter.CodeType:

    CORNER       (box - prior) / v
    CORNER_SIZE  (box - prior) / size / v
    CENTER_SIZE  (centre - prior's centre) / size / v, then log(box's size / size) / v

with the prior's size and its variances v; these are 1 where variance_encoded_in_target.

Source: SSD: Single Shot MultiBox Detector, Liu et al. 2016, and its fork of Caffe.
"""

from __future__ import annotations

import numpy as np


def area(boxes: np.ndarray) -> np.ndarray:
    """boxes: (..., 4).  Returns (...): width times height, 0 where either is negative."""
    product: np.ndarray = np.maximum(boxes[..., 2] - boxes[..., 0], 0)
    product *= np.maximum(boxes[..., 3] - boxes[..., 1], 0)
    return product


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a: (A, 4).  b: (B, 4).  Returns (A, B): intersection over union of each pair, 0 where the two
    do not meet in more than an edge, or one has nan."""
    return overlaps_between(a[:, None], b)


def overlaps_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a, b: (..., 4), of shapes that go together.  Returns (...): their intersections over union,
    as `overlaps` does."""
    common: np.ndarray = np.minimum(a[..., 2], b[..., 2])
    common -= np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3])
    height -= np.maximum(a[..., 1], b[..., 1])
    np.fmax(common, 0, out=common)  # of nan 0
    common *= np.fmax(height, 0, out=height)
    union = area(a) + area(b)
    union -= common
    np.divide(common, union, out=common, where=common > 0)
    return common


def encode(
    priors: np.ndarray,
    variances: np.ndarray,
    boxes: np.ndarray,
    code_type: str,
    variance_encoded_in_target: bool,
) -> np.ndarray:
    """priors, variances, boxes: (..., P, 4).  Returns (..., P, 4): the locations of which `decode`
    makes the boxes. With CENTER_SIZE a box without size has the location -inf."""
    if code_type == "CENTER_SIZE":
        centres, sizes = _centres(priors)
        box_centres, box_sizes = _centres(boxes)
        with np.errstate(divide="ignore"):
            parts = (box_centres - centres) / sizes, np.log(box_sizes / sizes)
        locations = np.concatenate(parts, axis=-1)
    else:
        locations = boxes - priors
        if code_type == "CORNER_SIZE":
            locations /= _both_corners(priors)
    if not variance_encoded_in_target:
        locations /= variances
    return locations


def decode(
    priors: np.ndarray,
    variances: np.ndarray,
    locations: np.ndarray,
    code_type: str,
    variance_encoded_in_target: bool,
) -> np.ndarray:
    """priors, variances: (P, 4).  locations: (..., P, 4).  Returns (..., P, 4): the boxes, which
    may leave the image, and with CORNER and CORNER_SIZE have negative sizes."""
    moves: np.ndarray = locations.copy() if variance_encoded_in_target else locations * variances
    if code_type == "CENTER_SIZE":
        centres, sizes = _centres(priors)
        moves[..., :2] *= sizes
        moves[..., :2] += centres
        # A wild prediction in the first iterations: infinite is what exp says.
        with np.errstate(over="ignore"):
            halves = np.exp(moves[..., 2:]) * sizes / 2
        np.add(moves[..., :2], halves, out=moves[..., 2:])
        moves[..., :2] -= halves
        return moves
    if code_type == "CORNER_SIZE":
        moves *= _both_corners(priors)
    moves += priors
    return moves


def _centres(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """boxes: (..., 4).  Returns (..., 2) twice: the centres, and the widths and heights."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def _both_corners(priors: np.ndarray) -> np.ndarray:
    """(..., 4): width and height for either corner."""
    return np.concatenate([priors[..., 2:] - priors[..., :2]] * 2, axis=-1)
