"""Clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Clip"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@settings(max_examples=15, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), max_size=5),
    limits=st.sampled_from([(-0.5, 0.8), (0, 6), (-9, 8), (1, 1)]),
)
def test_gradient(shape: list[int], limits: tuple[float, float], names: str) -> None:
    x = 3 * np.random.default_rng(0).standard_normal(shape)
    fields = f"min: {limits[0]} max: {limits[1]}"
    check_layer_gradient(f'type: "Clip" {names} clip_param {{ {fields} }}', [x])


def test_the_gradient_passes_at_the_limits(ops: Ops) -> None:
    x = np.array([-2.0, -1, 0, 1, 2])
    run = make_layer('type: "Clip" clip_param { min: -1 max: 1 }', [x], ops=ops)
    np.testing.assert_array_equal(run.forward()[0], [-1, -1, 0, 1, 1])
    run.top[0].diff.write()[...] = 3
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff.read(), [0, 3, 3, 3, 0])


def test_nan_stays_nan(ops: Ops) -> None:
    run = make_layer('type: "Clip" clip_param { min: -1 max: 1 }', [np.array([np.nan])], ops=ops)
    assert np.isnan(run.forward()[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("min: 0", "clip_param.max: expected a number, got none"),
        ("max: 0", "clip_param.min: expected a number, got none"),
        ("min: 2 max: 1", "expected min up to max, got min 2 and max 1"),
        ("min: nan max: 1", "expected min up to max, got min nan and max 1"),
    ],
)
def test_limits_that_do_not_fit_are_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        make_layer(f'type: "Clip" clip_param {{ {fields} }}', [np.ones(3)])
