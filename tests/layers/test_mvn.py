"""MVN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("MVN"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(2, 4), min_size=3, max_size=5),
    across=st.booleans(),
    variance=st.booleans(),
)
def test_gradient(shape: list[int], across: bool, variance: bool, names: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    fields = f"across_channels: {str(across).lower()} normalize_variance: {str(variance).lower()}"
    check_layer_gradient(f'type: "MVN" {names} mvn_param {{ {fields} }}', [x])


@pytest.mark.parametrize("shape", [(2, 3), (4,), (), (2, 3, 1, 1)])
def test_single_elements_become_0(shape: tuple[int, ...], ops: Ops) -> None:
    run = make_layer('type: "MVN"', [np.full(shape, 7.0)], ops=ops)
    assert not run.forward()[0].any()
    run.top[0].diff.write()[...] = 1
    run.backward()
    assert not run.bottom[0].diff.read().any()


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 0)])
def test_nothing_stays_nothing(shape: tuple[int, ...], ops: Ops) -> None:
    run = make_layer('type: "MVN"', [np.ones(shape)], ops=ops)
    assert run.forward()[0].shape == shape
    run.backward()
    assert run.bottom[0].diff.read().shape == shape


def test_eps_is_added_to_the_deviation(ops: Ops) -> None:
    run = make_layer('type: "MVN" mvn_param { eps: 1 }', [np.array([[[-3.0, 3]]])], ops=ops)
    np.testing.assert_allclose(run.forward()[0], [[[-0.75, 0.75]]])


def test_two_bottoms_are_refused() -> None:
    with pytest.raises(NetError, match="expected 1 bottom"):
        make_layer('type: "MVN"', [np.ones((2, 3, 4))] * 2)
