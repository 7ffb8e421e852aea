"""Mish."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, make_layer

LAYER = 'type: "Mish"'


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (7,), (300, 1000)])
def test_value(shape: tuple[int, ...], ops: Ops) -> None:
    x = 4 * np.random.default_rng(0).standard_normal(shape)
    (top,) = make_layer(LAYER, [x], ops=ops).forward()
    expected = x * np.tanh(np.log1p(np.exp(x)))
    np.testing.assert_allclose(top, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.integers(1, 4), max_size=5))
def test_gradient(shape: list[int], names: str) -> None:
    x = 3 * np.random.default_rng(0).standard_normal(shape)
    check_layer_gradient(f"{LAYER} {names}", [x])


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
def test_large_numbers_overflow_nothing_and_nan_stays(names: str, ops: Ops) -> None:
    x = np.array([-1e4, -90, 0.0, 90, 1e4, np.nan])
    run = make_layer(f"{LAYER} {names}", [x], ops=ops)
    np.testing.assert_allclose(run.forward()[0], [0, 0, 0, 90, 1e4, np.nan], atol=1e-30)
    run.top[0].diff.write()[...] = 1
    run.backward()
    expected = [0, 0, 0.6, 1, 1, np.nan]
    np.testing.assert_allclose(run.bottom[0].diff.read(), expected, rtol=1e-6, atol=1e-30)
