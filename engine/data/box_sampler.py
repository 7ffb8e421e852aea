"""Batch samplers: windows drawn at random until they hold enough of the objects in an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from caffepy.engine.core.errors import NetError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import boxes as geometry
from caffepy.proto.caffe_pb2 import BatchSampler, SampleConstraint, Sampler

_TOGETHER = 64  # windows that are drawn and judged at a time
_DRAWS = 4  # of a window: scale, aspect ratio, two of the place
_FIRST = 4  # the first word of windows; that which chooses among them is number 0
_KINDS = ("jaccard_overlap", "sample_coverage", "object_coverage")


class WindowSampler:
    """Draws the windows that a list of batch_samplers describes, and takes one of them.

    Windows are a function of the sample's number.

    stream: random numbers, at positions from 1 up.  where: the beginning of errors.
    Raises: NetError for samplers that make no sense.
    Source: the SSD fork's sampler.cpp; W. Liu et al., "SSD: Single Shot MultiBox Detector", 2016.
    """

    def __init__(self, samplers: Sequence[BatchSampler], *, stream: Stream, where: str) -> None:
        self.samplers = samplers
        self.stream = stream
        self.where = where
        for number, sampler in enumerate(samplers):
            self._check(number, sampler.sampler)

    def window(self, places: np.ndarray, number: int) -> np.ndarray | None:
        """(4,) float32: the window for sample `number`, whose objects are at places (n, 4); None
        where no sampler finds one."""
        found = list[np.ndarray]()
        start = _FIRST
        for sampler in self.samplers:
            if sampler.use_original_image:
                found += self._found(sampler, places, number, start)
            start += _DRAWS * sampler.max_trials
        if not found:
            return None
        (draw,) = self.stream.uniform(number + 1, 1)
        return found[int(draw * len(found))]

    def _found(
        self, sampler: BatchSampler, places: np.ndarray, number: int, start: int
    ) -> list[np.ndarray]:
        """The first max_sample windows of a sampler that meet its constraint."""
        trials, found = sampler.max_trials, list[np.ndarray]()
        most = sampler.max_sample if sampler.HasField("max_sample") else trials
        for first in range(0, trials, _TOGETHER):
            if len(found) >= most:
                break
            count = min(_TOGETHER, trials - first)
            draws = self.stream.uniform(number + 1, _DRAWS * count, start + _DRAWS * first)
            windows = _windows(sampler.sampler, draws.reshape(count, _DRAWS))
            found.extend(windows[_met(sampler.sample_constraint, windows, places)])
        return found[:most]

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


def _windows(sampler: Sampler, draws: np.ndarray) -> np.ndarray:
    """(n, 4) float32 windows of random numbers (n, 4). The ratio is held where sides are at most
    those of the image."""
    least, most = sampler.min_scale, sampler.max_scale
    scale = least + (most - least) * draws[:, 0]
    least, most = sampler.min_aspect_ratio, sampler.max_aspect_ratio
    ratio = np.clip(least + (most - least) * draws[:, 1], scale**2, 1 / scale**2)
    sides = np.minimum(np.stack([scale * np.sqrt(ratio), scale / np.sqrt(ratio)], axis=1), 1)
    corner = draws[:, 2:] * (1 - sides)  # below 1 - sides, so that windows end in the image
    windows: np.ndarray = np.concatenate([corner, corner + sides], axis=1).astype(np.float32)
    return windows


def _met(constraint: SampleConstraint, windows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(n,) bool: which windows (n, 4) have all that a constraint asks for with one object."""
    asked = {field.name for field, _ in constraint.ListFields()}
    if not asked:
        return np.ones(len(windows), bool)
    taken, objects = windows[:, None], places[None]  # (n, 1, 4), (1, m, 4)
    met = np.ones((len(windows), len(places)), bool)
    for kind in _KINDS:
        if f"min_{kind}" not in asked and f"max_{kind}" not in asked:
            continue
        if kind == "jaccard_overlap":
            values = geometry.overlaps(taken, objects)
        elif kind == "sample_coverage":
            values = geometry.coverage(taken, objects)
        else:
            values = geometry.coverage(objects, taken)
        if f"min_{kind}" in asked:
            met &= values >= np.float32(getattr(constraint, f"min_{kind}"))
        if f"max_{kind}" in asked:
            met &= values <= np.float32(getattr(constraint, f"max_{kind}"))
    return np.asarray(met.any(1))
