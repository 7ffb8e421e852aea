"""The numbers of arrays in short: range, mean, spread, histogram."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 16
BLOCK = 1 << 20  # values that are looked at at a time
BARS, ASCII_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"  # from nothing to most


@dataclass(frozen=True)
class Statistics:
    """Of all values of one or more arrays.

    minimum to std: of the finite values, nan where there are none.  zeros, not_finite: counts.
    histogram: counts in BINS equal parts of the range; all in the first where the range is a point.
    """

    count: int
    minimum: float
    maximum: float
    mean: float
    std: float
    zeros: int
    not_finite: int
    histogram: list[int]

    def bars(self, letters: str = BARS) -> str:
        """The histogram as a row of letters."""
        most, last = max(self.histogram), len(letters) - 1
        return "".join(letters[math.ceil(count / max(most, 1) * last)] for count in self.histogram)

    def plain(self) -> dict[str, Any]:
        """For JSON, which has no nan."""
        told = dataclasses.asdict(self)
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in told.items()
        }


@np.errstate(over="ignore", invalid="ignore")  # sums and squares of the largest numbers are inf
def measure(arrays: Callable[[], Iterable[np.ndarray]]) -> Statistics:
    """The statistics of numeric arrays. arrays: gives them, twice."""
    count = finite = zeros = 0
    low, high, total = math.inf, -math.inf, 0.0
    for block in _blocks(arrays()):
        good = block[np.isfinite(block)]
        count += block.size
        finite += good.size
        zeros += int(np.count_nonzero(good == 0))
        if good.size:
            low, high = min(low, float(good.min())), max(high, float(good.max()))
            total += float(good.sum())
    if not finite:
        nan = math.nan
        return Statistics(count, nan, nan, nan, nan, zeros, count, [0] * BINS)
    mean, squares = total / finite, 0.0
    span = high / 2 - low / 2  # halves: a range of doubles may be larger than any double
    histogram = np.zeros(BINS, np.int64)
    for block in _blocks(arrays()):
        good = block[np.isfinite(block)]
        squares += float(np.square(good - mean).sum())
        places = np.zeros(good.shape, np.int64)
        if span > 0:
            places = ((good / 2 - low / 2) / span * BINS).astype(np.int64)
        histogram += np.bincount(np.minimum(places, BINS - 1), minlength=BINS)
    std = math.sqrt(squares / finite)
    return Statistics(count, low, high, mean, std, zeros, count - finite, histogram.tolist())


def _blocks(arrays: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """All values, float64, in pieces."""
    for array in arrays:
        flat = array.reshape(-1)
        for first in range(0, flat.size, BLOCK):
            yield flat[first : first + BLOCK].astype(np.float64)
