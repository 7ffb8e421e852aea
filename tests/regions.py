"""Pooling of regions as plain loops, in the arithmetic of the element type."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

Bin = tuple[int, int, int, int]  # its rows from and to, its columns from and to


def roi_pool(
    x: np.ndarray, rois: np.ndarray, pooled: tuple[int, int], scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """The maxima, and where in x each lies: -1 for none."""
    out = np.zeros((len(rois), x.shape[1], *pooled), x.dtype)
    places = np.full(out.shape, -1)
    for r, k, j, (top, bottom, left, right) in roi_bins(x, rois, pooled, scale):
        for c in range(x.shape[1]):
            best = np.finfo(np.float32).min if top < bottom and left < right else 0
            for row in range(top, bottom):
                for column in range(left, right):
                    number = x[int(rois[r, 0]), c, row, column]
                    if number > best:
                        best = number
                        where = int(rois[r, 0]), c, row, column
                        places[r, c, k, j] = np.ravel_multi_index(where, x.shape)
            out[r, c, k, j] = best
    return out, places


def psroi_pool(
    x: np.ndarray, rois: np.ndarray, outputs: int, group: int, scale: float
) -> np.ndarray:
    """The means."""
    out = np.zeros((len(rois), outputs, group, group), x.dtype)
    for r, k, j, (top, bottom, left, right) in psroi_bins(x, rois, group, scale):
        if top < bottom and left < right:
            for c in range(outputs):
                channel = (c * group + k) * group + j
                part = x[int(rois[r, 0]), channel, top:bottom, left:right]
                out[r, c, k, j] = part.astype(np.float64).mean()
    return out


def roi_bins(
    x: np.ndarray, rois: np.ndarray, pooled: tuple[int, int], scale: float
) -> Iterator[tuple[int, int, int, Bin]]:
    """(region, bin's row, bin's column, the bin) of ROIPooling."""
    kind = x.dtype.type
    for r, row in enumerate(rois.astype(x.dtype)):
        left, top, right, bottom = (_round(float(edge * kind(scale))) for edge in row[1:])
        height, width = max(bottom - top + 1, 1), max(right - left + 1, 1)
        tall, wide = kind(height) / kind(pooled[0]), kind(width) / kind(pooled[1])
        for k, j in np.ndindex(pooled):
            yield (
                r,
                k,
                j,
                (
                    *_cut(
                        math.floor(kind(k) * tall) + top,
                        math.ceil(kind(k + 1) * tall) + top,
                        x.shape[2],
                    ),
                    *_cut(
                        math.floor(kind(j) * wide) + left,
                        math.ceil(kind(j + 1) * wide) + left,
                        x.shape[3],
                    ),
                ),
            )


def psroi_bins(
    x: np.ndarray, rois: np.ndarray, group: int, scale: float
) -> Iterator[tuple[int, int, int, Bin]]:
    """(region, bin's row, bin's column, the bin) of PSROIPooling."""
    kind = x.dtype.type
    for r, row in enumerate(rois.astype(x.dtype)):
        whole = [_round(float(edge)) for edge in row[1:]]
        left, top = kind(whole[0]) * kind(scale), kind(whole[1]) * kind(scale)
        right, bottom = kind(whole[2] + 1) * kind(scale), kind(whole[3] + 1) * kind(scale)
        tall = max(bottom - top, kind(0.1)) / kind(group)
        wide = max(right - left, kind(0.1)) / kind(group)
        for k, j in np.ndindex(group, group):
            yield (
                r,
                k,
                j,
                (
                    *_cut(
                        math.floor(kind(k) * tall + top),
                        math.ceil(kind(k + 1) * tall + top),
                        x.shape[2],
                    ),
                    *_cut(
                        math.floor(kind(j) * wide + left),
                        math.ceil(kind(j + 1) * wide + left),
                        x.shape[3],
                    ),
                ),
            )


def _round(number: float) -> int:
    """The nearest whole number, halves away from 0."""
    return int(math.copysign(math.floor(abs(number) + 0.5), number))


def _cut(first: int, last: int, limit: int) -> tuple[int, int]:
    return min(max(first, 0), limit), min(max(last, 0), limit)
