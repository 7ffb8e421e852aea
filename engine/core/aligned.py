"""Memory at addresses that suit vector instructions."""

from __future__ import annotations

from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def aligned_zeros(count: int, dtype: Any = np.float32) -> np.ndarray:
    """A flat array of zeros whose first element lies at a multiple of ALIGNMENT. Large ones take no
    memory until they are touched."""
    size = np.dtype(dtype).itemsize
    memory = np.zeros(count + ALIGNMENT // size, dtype)
    start = -address(memory) % ALIGNMENT // size
    return memory[start : start + count]


def address(array: np.ndarray) -> int:
    """Where the first element lies."""
    place: int = array.__array_interface__["data"][0]
    return place
