"""ELU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("ELU"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.integers(1, 4), max_size=5), alpha=st.sampled_from([1, 0, 0.4, -0.5]))
def test_gradient(shape: list[int], alpha: float, names: str) -> None:
    x = 3 * np.random.default_rng(0).standard_normal(shape)
    check_layer_gradient(f'type: "ELU" {names} elu_param {{ alpha: {alpha} }}', [x])


def test_the_gradient_at_0_is_alpha(ops: Ops) -> None:
    run = make_layer('type: "ELU" elu_param { alpha: 0.4 }', [np.zeros(2)], ops=ops)
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward()
    np.testing.assert_allclose(run.bottom[0].diff.read(), 0.4)


def test_large_numbers_overflow_nothing(ops: Ops) -> None:
    run = make_layer('type: "ELU"', [np.array([-1e4, 1e4])], ops=ops)
    np.testing.assert_array_equal(run.forward()[0], [-1, 1e4])


def test_the_factor_of_a_fork_is_refused() -> None:
    with pytest.raises(NetError, match="lambda: expected it to be left out or at its default"):
        make_layer('type: "ELU" elu_param { lambda: 1.05 }', [np.ones(3)])
