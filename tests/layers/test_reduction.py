"""Reduction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Reduction"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    operation=st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"]),
    coeff=st.sampled_from([1, -2.5, 0]),
    data=st.data(),
)
def test_gradient(shape: list[int], operation: str, coeff: float, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    text = f"operation: {operation} axis: {axis} coeff: {coeff}"
    check_layer_gradient(
        f'type: "Reduction" reduction_param {{ {text} }}',
        [np.random.default_rng(0).standard_normal(shape)],
    )


def test_a_loss_weight_weighs_the_sum() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3))
    check_layer_gradient('type: "Reduction" loss_weight: 0.2', [x])


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
def test_nothing_sums_up_to_0(operation: str, ops: Ops) -> None:
    text = f'type: "Reduction" reduction_param {{ operation: {operation} }}'
    run = make_layer(text, [np.ones((0, 3))], ops=ops)
    assert run.forward()[0] == 0
    run.top[0].diff.write()[...] = 1
    run.backward()
    assert run.bottom[0].diff.read().shape == (0, 3)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"reduction_param.axis 2 does not exist in 'bottom_0'"):
        make_layer('type: "Reduction" reduction_param { axis: 2 }', [np.ones((2, 3))])
    with pytest.raises(ShapeError, match=r"reduction_param.axis 0 does not exist"):
        make_layer('type: "Reduction"', [np.float32(1)])
    with pytest.raises(NetError, match="expected SUM, ASUM, SUMSQ or MEAN, got TOPK"):
        make_layer('type: "Reduction" reduction_param { operation: TOPK }', [np.ones((2, 3))])
