"""Adding rows at places that may repeat."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caffepy.engine.ops.numpy.rows import add_rows


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(0, 3))
def test_rows_are_added_however_often_places_repeat(places: list[int], size: int) -> None:
    rows = np.random.default_rng(len(places)).integers(-9, 9, (len(places), size)).astype(float)
    found, expected = np.ones((2, 7, size))
    add_rows(found, np.array(places, np.int64), rows)
    np.add.at(expected, np.array(places, np.int64), rows)
    np.testing.assert_array_equal(found, expected)
