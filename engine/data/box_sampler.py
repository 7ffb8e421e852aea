"""Batch samplers: windows drawn at random until they hold enough of the objects in an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from caffepy.engine.core.errors import NetError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import boxes as geometry
from caffepy.proto.caffe_pb2 import BatchSampler, SampleConstraint, Sampler

_TOGETHER = 4096  # windows that are drawn and judged at a time
_MOST_TRIALS = 1_000_000
_DRAWS = 4  # of a window: scale, aspect ratio, two of the place
_FIRST = 4  # the first word of windows; that which chooses among them is number 0
_RANGES = ("min_scale", "max_scale", "min_aspect_ratio", "max_aspect_ratio")
# What a constraint may ask for, and how it is computed of windows and objects.
_KINDS: tuple[tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]], ...] = (
    ("jaccard_overlap", geometry.overlaps),
    ("sample_coverage", geometry.coverage),
    ("object_coverage", lambda windows, objects: geometry.coverage(objects, windows)),
)


class WindowSampler:
    """Draws the windows that a list of batch_samplers describes, and takes one of them.

    Windows are a function of the sample's number.

    stream: random numbers, at positions from 1 up.  where: the beginning of errors.
    Raises: NetError for samplers that make no sense.
    Source: the SSD fork's sampler.cpp; W. Liu et al., "SSD: Single Shot MultiBox Detector", 2016.
    """

    def __init__(self, samplers: Sequence[BatchSampler], *, stream: Stream, where: str) -> None:
        self.stream = stream
        self.where = where
        for number, sampler in enumerate(samplers):
            self._check(number, sampler.sampler)
            if sampler.max_trials > _MOST_TRIALS:
                raise NetError(
                    f"{where}: annotated_data_param.batch_sampler {number}: max_trials: expected "
                    f"at most {_MOST_TRIALS}, got {sampler.max_trials}, which may take hours for "
                    "an image. Lower it."
                )
        used = [sampler for sampler in samplers if sampler.use_original_image]
        self._ends = np.cumsum([sampler.max_trials for sampler in used], dtype=np.int64)
        self._most = np.array([_most(sampler) for sampler in used], np.int64)
        ranges = [[getattr(sampler.sampler, name) for name in _RANGES] for sampler in used]
        self._ranges = np.array(ranges, np.float64).reshape(len(used), len(_RANGES))
        bounds = [[_bounds(s.sample_constraint, kind) for s in used] for kind, _ in _KINDS]
        self._bounds = np.array(bounds, np.float32).reshape(len(_KINDS), len(used), 2)
        self._free = np.array([not s.sample_constraint.ListFields() for s in used], bool)

    def window(self, places: np.ndarray, number: int) -> np.ndarray | None:
        """(4,) float32: the window for sample `number`, whose objects are at places (n, 4); None
        where no sampler finds one."""
        found = list[np.ndarray]()
        missing = self._most.copy()  # windows that each sampler may still find
        total = int(self._ends[-1]) if len(self._ends) else 0
        for first in range(0, total, _TOGETHER):
            count = min(_TOGETHER, total - first)
            sampler = np.searchsorted(self._ends, np.arange(first, first + count), side="right")
            draws = self.stream.uniform(number + 1, _DRAWS * count, _FIRST + _DRAWS * first)
            windows = _windows(self._ranges[sampler], draws.reshape(count, _DRAWS))
            met = np.flatnonzero(self._met(sampler, windows, places))
            for own in np.flatnonzero(missing):
                kept = met[sampler[met] == own][: missing[own]]
                found.extend(windows[kept])
                missing[own] -= len(kept)
            if not missing.any():
                break
        if not found:
            return None
        (draw,) = self.stream.uniform(number + 1, 1)
        return found[int(draw * len(found))]

    def _met(self, sampler: np.ndarray, windows: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(n,) bool: which windows (n, 4) have all that the constraints of their samplers (n,) ask
        for with one object."""
        taken, objects = windows[:, None], places[None]  # (n, 1, 4), (1, m, 4)
        met = np.ones((len(windows), len(places)), bool)
        for (_, computed), bounds in zip(_KINDS, self._bounds, strict=True):
            if np.isfinite(bounds).any():
                values, limits = computed(taken, objects), bounds[sampler]
                met &= (values >= limits[:, :1]) & (values <= limits[:, 1:])
        return np.asarray(met.any(1) | self._free[sampler])

    def _check(self, number: int, sampler: Sampler) -> None:
        scales = sampler.min_scale, sampler.max_scale
        if not 0 < scales[0] <= scales[1] <= 1:
            self._refuse(number, "scale", "more than 0, at most 1", scales)
        ratios = sampler.min_aspect_ratio, sampler.max_aspect_ratio
        if not 0 < ratios[0] <= ratios[1] < math.inf:
            self._refuse(number, "aspect_ratio", "more than 0", ratios)

    def _refuse(self, number: int, name: str, expected: str, got: tuple[float, float]) -> NoReturn:
        raise NetError(
            f"{self.where}: annotated_data_param.batch_sampler {number}: sampler.min_{name}, "
            f"max_{name}: expected {expected}, the first not the larger, got {got[0]:g} and "
            f"{got[1]:g}. Correct them."
        )


def _most(sampler: BatchSampler) -> int:
    """How many windows it may find."""
    return sampler.max_sample if sampler.HasField("max_sample") else sampler.max_trials


def _bounds(constraint: SampleConstraint, kind: str) -> tuple[float, float]:
    """What is least and most of a kind, infinite where that is not asked for."""
    least, most = -math.inf, math.inf
    if constraint.HasField(f"min_{kind}"):
        least = getattr(constraint, f"min_{kind}")
    if constraint.HasField(f"max_{kind}"):
        most = getattr(constraint, f"max_{kind}")
    return least, most


def _windows(ranges: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(n, 4) float32 windows of random numbers (n, 4), for ranges (n, 4) of _RANGES. The ratio is
    held where sides are at most those of the image."""
    scale = ranges[:, 0] + (ranges[:, 1] - ranges[:, 0]) * draws[:, 0]
    ratio = ranges[:, 2] + (ranges[:, 3] - ranges[:, 2]) * draws[:, 1]
    root = np.sqrt(np.clip(ratio, scale**2, 1 / scale**2))
    windows = np.empty((len(draws), 4), np.float32)
    for axis, side in enumerate((scale * root, scale / root)):
        length = np.minimum(side, 1)
        start = draws[:, 2 + axis] * (1 - length)  # windows end in the image
        windows[:, axis], windows[:, 2 + axis] = start, start + length
    return windows
