"""Sums along axes on numpy, of arrays and of products of two.

einsum takes a fraction of the time of `sum`, and makes no product in memory, but adds up one
element after the other (in some lanes): so it gets RUN elements at a time, and stays as exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RUN = 1 << 10


def row_sums(*factors: np.ndarray) -> np.ndarray:
    """(rows,) the sum of each row of one array, or of the product of two, (rows, size) each."""
    rows, size = factors[0].shape
    whole = size - size % RUN
    if not whole:
        return _sum("ij->i", factors)
    runs = [factor[:, :whole].reshape(rows, whole // RUN, RUN) for factor in factors]
    total: np.ndarray = _sum("ikj->ik", runs).sum(axis=1)
    if whole < size:
        total += _sum("ij->i", [factor[:, whole:] for factor in factors])
    return total


def column_sums(*factors: np.ndarray) -> np.ndarray:
    """(columns,) the sum of each column of one array, or of the product of two, (size, columns)
    each."""
    size, columns = factors[0].shape
    whole = size - size % RUN
    if not whole:
        return _sum("ij->j", factors)
    runs = [factor[:whole].reshape(whole // RUN, RUN, columns) for factor in factors]
    total = column_sums(_sum("kij->kj", runs))
    if whole < size:
        total += column_sums(*(factor[whole:] for factor in factors))
    return total


def channel_sums(*factors: np.ndarray) -> np.ndarray:
    """(size,) the sum per channel of one array, or of the product of two, (outer, size, inner)
    each."""
    outer, size, inner = factors[0].shape
    if inner == 1:
        return column_sums(*(factor.reshape(outer, size) for factor in factors))
    rows = row_sums(*(factor.reshape(outer * size, inner) for factor in factors))
    return column_sums(rows.reshape(outer, size))


def _sum(subscripts: str, factors: Sequence[np.ndarray]) -> np.ndarray:
    """What einsum makes of one array, or of the product of two that are indexed alike."""
    index, result = subscripts.split("->")
    total: np.ndarray = np.einsum(f"{','.join([index] * len(factors))}->{result}", *factors)
    return total
