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
    axis=st.integers(0, 3),
    bias=st.booleans(),
    transpose=st.booleans(),
)
def test_gradient(shape: list[int], axis: int, bias: bool, transpose: bool) -> None:
    axis = min(axis, len(shape) - 1)
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
