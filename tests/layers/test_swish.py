"""Swish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Swish"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.integers(1, 4), max_size=5), beta=st.sampled_from([1, 0, 1.7, -2]))
def test_gradient(shape: list[int], beta: float, names: str) -> None:
    x = 3 * np.random.default_rng(0).standard_normal(shape)
    check_layer_gradient(f'type: "Swish" {names} swish_param {{ beta: {beta} }}', [x])


def test_large_numbers_overflow_nothing(ops: Ops) -> None:
    run = make_layer('type: "Swish"', [np.array([-1e4, 0.0, 1e4])], ops=ops)
    np.testing.assert_array_equal(run.forward()[0], [0, 0, 1e4])
    run.top[0].diff.write()[...] = 1
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff.read(), [0, 0.5, 1])


def test_two_tops_are_refused() -> None:
    with pytest.raises(NetError, match="expected 1 top"):
        make_layer('type: "Swish" top: "a" top: "b"', [np.ones(3)])
