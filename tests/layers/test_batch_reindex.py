"""BatchReindex."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("BatchReindex"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    choices=st.lists(st.integers(0, 99), max_size=8),
)
def test_samples_and_gradient(shape: list[int], choices: list[int]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    indices = np.array([choice % shape[0] for choice in choices], int)
    (top,) = make_layer('type: "BatchReindex"', [x, indices]).forward()
    np.testing.assert_array_equal(top, x[indices])
    check_layer_gradient('type: "BatchReindex"', [x, indices], bottoms=[0])


def test_indices_are_cut_to_integers(ops: Ops) -> None:
    x = np.array([[1.0], [2], [3]])
    (top,) = make_layer('type: "BatchReindex"', [x, np.array([0.9, 2.1, -0.5])], ops=ops).forward()
    np.testing.assert_array_equal(top, [[1], [3], [1]])


def test_an_element_is_traced_to_its_sample() -> None:
    run = make_layer('type: "BatchReindex"', [np.ones((3, 4)), np.array([2, 0])])
    assert [run.layer.origin(0, place, run.bottom) for place in (1, 6)] == [(0, 9), (0, 2)]


@pytest.mark.parametrize("bad", [-1, 3, np.nan])
def test_an_index_without_a_sample_is_refused(bad: float, ops: Ops) -> None:
    run = make_layer('type: "BatchReindex"', [np.ones((3, 2)), np.array([0, bad])], ops=ops)
    message = f"index of sample 1 of the batch: expected 0 to 2, got {bad:g}. Correct the numbers"
    with pytest.raises(LabelError, match=message):
        run.forward()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="'bottom_1': expected 1 axis, one index per sample"):
        make_layer('type: "BatchReindex"', [np.ones((3, 2)), np.ones((3, 1))])
    run = make_layer('type: "BatchReindex"', [np.ones((3, 2)), np.zeros(2)])
    with pytest.raises(NetError, match="'bottom_1' needs a gradient, but indices have no"):
        run.layer.backward(run.top, [True, True], run.bottom)
