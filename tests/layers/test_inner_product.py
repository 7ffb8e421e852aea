"""InnerProduct."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("InnerProduct"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    axis=st.integers(-4, 3),
    bias=st.booleans(),
    transpose=st.booleans(),
)
def test_gradient(shape: list[int], axis: int, bias: bool, transpose: bool) -> None:
    axis = max(-len(shape), min(axis, len(shape) - 1))
    check_layer_gradient(
        f"""type: "InnerProduct" inner_product_param {{ num_output: 3 axis: {axis}
        bias_term: {str(bias).lower()} transpose: {str(transpose).lower()}
        weight_filler {{ type: "gaussian" }} bias_filler {{ type: "uniform" }} }}""",
        [np.random.default_rng(0).standard_normal(shape)],
    )


def test_an_axis_that_does_not_exist_is_named() -> None:
    with pytest.raises(ShapeError, match=r"layer 'layer' \(InnerProduct\): axis 2 does not exist"):
        make_layer(
            'type: "InnerProduct" inner_product_param { num_output: 3 axis: 2 }', [np.ones((2, 3))]
        )


def test_a_negative_axis_counts_from_the_end_of_each_shape(ops: Ops) -> None:
    text = """type: "InnerProduct" inner_product_param { num_output: 2 axis: -1
      weight_filler { value: 1 } }"""
    run = make_layer(text, [np.ones((2, 3, 4))], ops=ops)
    run.bottom[0].reshape((5, 4))
    run.bottom[0].data.write()[...] = 3
    np.testing.assert_array_equal(run.forward()[0], np.full((5, 2), 12))


@pytest.mark.parametrize("transpose", ["false", "true"])
@pytest.mark.parametrize("learning", [(True, False), (False, True)])
def test_a_frozen_parameter_gets_no_gradient(
    learning: tuple[bool, bool], transpose: str, ops: Ops
) -> None:
    text = f'type: "InnerProduct" inner_product_param {{ num_output: 2 transpose: {transpose} }}'
    run = make_layer(text, [np.ones((3, 4))], ops=ops)
    run.layer.param_propagate_down = list(learning)
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward()
    for blob, learns in zip(run.layer.blobs, learning, strict=True):
        np.testing.assert_array_equal(blob.diff.read(), np.full(blob.shape, 3 if learns else 0))
