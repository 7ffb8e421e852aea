"""Embed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import LabelError, NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Embed"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(fields: str) -> str:
    return (
        f'type: "Embed" embed_param {{ {fields} weight_filler {{ type: "gaussian" }} '
        'bias_filler { type: "uniform" } }'
    )


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), max_size=4),
    rows=st.integers(1, 5),
    size=st.integers(1, 3),
    bias=st.booleans(),
)
def test_rows_and_gradient(shape: list[int], rows: int, size: int, bias: bool) -> None:
    numbers = np.random.default_rng(0).integers(0, rows, shape)
    text = layer(f"input_dim: {rows} num_output: {size} bias_term: {str(bias).lower()}")
    run = make_layer(text, [numbers])
    (top,) = run.forward()
    weights, *offset = (blob.data.read() for blob in run.layer.blobs)
    np.testing.assert_array_equal(top, weights[numbers] + (offset[0] if bias else 0))
    check_layer_gradient(text, [numbers], bottoms=[])


def test_gradients_of_a_number_that_repeats_add_up(ops: Ops) -> None:
    run = make_layer(layer("input_dim: 4 num_output: 1"), [np.array([2, 0, 2, 2])], ops=ops)
    run.forward()
    run.top[0].diff.write()[...] = [[1], [10], [100], [1000]]
    run.backward([False])
    np.testing.assert_array_equal(run.layer.blobs[0].diff.read(), [[10], [0], [1101], [0]])
    np.testing.assert_array_equal(run.layer.blobs[1].diff.read(), [1111])


def test_an_empty_batch_has_an_empty_top_and_no_gradient(ops: Ops) -> None:
    run = make_layer(layer("input_dim: 4 num_output: 3"), [np.ones((0, 2))], ops=ops)
    assert run.forward()[0].shape == (0, 2, 3)
    run.backward([False])
    assert not run.layer.blobs[0].diff.read().any()


@pytest.mark.parametrize("bad", [-1, 4, np.inf])
def test_a_number_without_a_row_is_refused(bad: float, ops: Ops) -> None:
    run = make_layer(layer("input_dim: 4 num_output: 1"), [np.array([[0], [bad]])], ops=ops)
    with pytest.raises(LabelError, match=rf"index of sample 1 .* expected 0 to 3, got {bad:g}."):
        run.forward()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NetError, match=r"embed_param.num_output: expected at least 1, got 0"):
        make_layer(layer("input_dim: 4"), [np.ones(2)])
    with pytest.raises(NetError, match=r"embed_param.input_dim: expected at least 1, got 0"):
        make_layer(layer("num_output: 4"), [np.ones(2)])
    run = make_layer(layer("input_dim: 4 num_output: 1"), [np.ones(2)])
    with pytest.raises(NetError, match="numbers that choose rows have no gradient"):
        run.layer.backward(run.top, [True], run.bottom)
