"""Concat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Concat"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    axis=st.integers(-3, 2),
    asked=st.sets(st.integers(0, 2), min_size=1),
)
def test_gradient(sizes: list[int], axis: int, asked: set[int]) -> None:
    shapes = [[2, 3, 2] for _ in sizes]
    for shape, size in zip(shapes, sizes, strict=True):
        shape[axis] = size
    random = np.random.default_rng(0)
    check_layer_gradient(
        f'type: "Concat" concat_param {{ axis: {axis} }}',
        [random.standard_normal(shape) for shape in shapes],
        bottoms=sorted(asked & set(range(len(sizes)))) or [0],
    )


def test_single_bottom_is_not_copied() -> None:
    run = make_layer('type: "Concat"', [np.ones((2, 3))])
    assert run.top[0].data.shares_memory_with(run.bottom[0].data)
    assert run.top[0].diff.shares_memory_with(run.bottom[0].diff)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3), (3, 3, 4)])
def test_other_axes_must_be_equal(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected the shape \(2, 3, 4\)"):
        make_layer('type: "Concat"', [np.ones((2, 3, 4)), np.ones(shape)])


def test_both_forms_of_the_axis_are_refused() -> None:
    with pytest.raises(NetError, match="expected axis or its old form concat_dim, got both"):
        make_layer('type: "Concat" concat_param { axis: 1 concat_dim: 1 }', [np.ones((2, 3))])
