"""ReLU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("ReLU"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@settings(max_examples=15, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), max_size=6),
    slope=st.sampled_from([0, 0.3, 1, 1.5, -0.4]),
)
def test_gradient(shape: list[int], slope: float, names: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    check_layer_gradient(f'type: "ReLU" {names} relu_param {{ negative_slope: {slope} }}', [x])


@pytest.mark.parametrize("slope", [0, 0.25, -0.5])
def test_working_in_place_changes_no_number(slope: float, ops: Ops) -> None:
    x = np.array([-2.0, -1, 0, 1, 2])
    text = f'type: "ReLU" bottom: "x" relu_param {{ negative_slope: {slope} }} '
    for top in ("y", "x"):
        run = make_layer(text + f'top: "{top}"', [x], ops=ops)
        np.testing.assert_array_equal(run.forward()[0], np.where(x > 0, x, slope * x))
        run.top[0].diff.write()[...] = 3
        run.backward()
        expected = np.where(x > 0, 3, 3 * slope)
        np.testing.assert_array_equal(run.bottom[0].diff.read(), expected)
