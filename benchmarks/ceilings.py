"""What the machine can do at best: matrix products and copies, at a number of threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import threadpoolctl

SIDE = 2048  # of the matrices
COPIED = 1 << 27  # bytes: far more than any cache holds
SECONDS = 0.5  # for each of both


@dataclass(frozen=True)
class Ceilings:
    """gflops: 1e9 operations a second in numpy's sgemm, two for a multiply-add.  gb: 1e9 bytes
    moved a second by copying between arrays in memory, read and written ones both counted."""

    gflops: float
    gb: float

    def best(self, other: Ceilings) -> Ceilings:
        """The higher of both of each."""
        return Ceilings(max(self.gflops, other.gflops), max(self.gb, other.gb))

    def compute_ms(self, flops: float) -> float:
        return flops / self.gflops / 1e6

    def memory_ms(self, moved: float) -> float:
        return moved / self.gb / 1e6


def ceilings(threads: int) -> Ceilings:
    """Measures both; the best of some runs each."""
    random = np.random.default_rng(1)
    a, b = (random.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    product = np.empty_like(a)
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        seconds = _best(lambda: np.matmul(a, b, out=product))
    source, target = (np.ones(COPIED, np.uint8) for _ in range(2))
    pairs = list(zip(*(np.array_split(array, threads) for array in (target, source)), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        copy_seconds = _best(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs)))
    return Ceilings(2 * SIDE**3 / seconds / 1e9, 2 * COPIED / copy_seconds / 1e9)


def _best(run: Callable[[], object]) -> float:
    run()
    taken: list[float] = []
    while sum(taken) < SECONDS:
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)
