"""Sums along axes, exact enough however many elements there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.ops.numpy import totals
from caffepy.engine.ops.numpy.totals import channel_sums, column_sums, row_sums

MANY = 1_000_003
EXACT = 1e-6  # relative; numpy's sum along axis 0 of as many float32 is off by 1e-5

shapes = st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(0, 9))


@settings(max_examples=60)
@given(shapes, st.integers(1, 2), st.sampled_from([2, 3, 1 << 10]), st.integers(0, 99))
def test_totals_are_those_of_sum(
    shape: tuple[int, int, int], factors: int, run: int, seed: int
) -> None:
    given = np.random.default_rng(seed).integers(-9, 10, (factors, *shape)).astype(np.float32)
    product = given.prod(axis=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(totals, "RUN", run)
        np.testing.assert_array_equal(channel_sums(*given), product.sum(axis=(0, 2)))
        rows, size = shape[0] * shape[1], shape[2]
        flat = given.reshape(factors, rows, size)
        np.testing.assert_array_equal(row_sums(*flat), flat.prod(axis=0).sum(axis=1))
        np.testing.assert_array_equal(column_sums(*flat), flat.prod(axis=0).sum(axis=0))


@pytest.mark.parametrize("shape", [(1, 1, MANY), (MANY, 1, 1), (1001, 1, 999)], ids=str)
@pytest.mark.parametrize("factors", [1, 2])
def test_a_million_float32_are_summed_up_exactly_enough(
    shape: tuple[int, int, int], factors: int
) -> None:
    given = np.random.default_rng(1).uniform(0, 1, (factors, *shape)).astype(np.float32)
    expected = given.astype(np.float64).prod(axis=0).sum()
    assert abs(channel_sums(*given)[0] - expected) < EXACT * expected
