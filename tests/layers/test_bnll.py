"""BNLL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("BNLL"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.integers(1, 4), max_size=5))
def test_gradient(shape: list[int], names: str) -> None:
    x = 3 * np.random.default_rng(0).standard_normal(shape)
    check_layer_gradient(f'type: "BNLL" {names}', [x])


def test_large_numbers_overflow_nothing(ops: Ops) -> None:
    run = make_layer('type: "BNLL"', [np.array([-1e4, -100.0, 0, 100, 1e4])], ops=ops)
    (top,) = run.forward()
    np.testing.assert_allclose(top, [0, 0, np.log(2), 100, 1e4], atol=1e-7)
    run.top[0].diff.write()[...] = 2
    run.backward()
    np.testing.assert_allclose(run.bottom[0].diff.read(), [0, 0, 1, 2, 2], atol=1e-7)


def test_two_bottoms_are_refused() -> None:
    with pytest.raises(NetError, match="expected 1 bottom"):
        make_layer('type: "BNLL"', [np.ones(3), np.ones(3)])
