"""Staging: pinned memory that small uploads pass through, so that the host waits for none of them.

CUDA promises of no copy from other memory that it has read it when the call returns; where the GPU
sees the host's memory (Grace Hopper, or Linux with HMM) it may read it later.

Source: NVIDIA's CUDA Runtime API, "API synchronization behavior".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

MOST_BYTES = 1 << 20  # of an upload that passes through
ALIGNMENT = 64


class Staging:
    """Two halves that are filled in turn: one is taken again when all copies from it are done.

    pinned: gives so many bytes of pinned memory.  mark: gives an event of cupy's behind the work
    that is queued so far.
    """

    def __init__(self, pinned: Callable[[int], np.ndarray], mark: Callable[[], Any]) -> None:
        self._memory = pinned(4 * MOST_BYTES)
        self._address: int = self._memory.ctypes.data
        self._mark = mark
        self._begin = self._used = 0  # the half's first byte, and how many of it are taken
        self._ends: dict[int, Any] = {}  # of the copies from a half, by its first byte

    def address(self, source: np.ndarray) -> int:
        """Where `source`, in C order and of up to MOST_BYTES, is copied to. The copy from there is
        to be queued before the next call."""
        size, half = source.nbytes, self._memory.size // 2
        if self._used + size > half:
            self._ends[self._begin] = self._mark()
            self._begin, self._used = half - self._begin, 0
            if self._begin in self._ends:
                self._ends[self._begin].synchronize()
        start = self._begin + self._used
        self._used += -(-size // ALIGNMENT) * ALIGNMENT
        self._memory[start : start + size] = source.reshape(-1).view(np.uint8)
        return self._address + start
