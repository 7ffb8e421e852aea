"""Bias."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

IN_PLACE = 'bottom: "x" top: "x"'


@pytest.mark.parametrize("case", golden_cases("Bias"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", IN_PLACE])
@settings(max_examples=15, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=6),
    axis=st.integers(-6, 5),
    num_axes=st.integers(-1, 6),
)
def test_gradient_of_the_parameter(shape: list[int], axis: int, num_axes: int, names: str) -> None:
    axis = max(-len(shape), min(axis, len(shape) - 1))
    num_axes = min(num_axes, len(shape) - axis % len(shape))
    fields = f'axis: {axis} num_axes: {num_axes} filler {{ type: "gaussian" }}'
    x = np.random.default_rng(0).standard_normal(shape)
    check_layer_gradient(f'type: "Bias" {names} bias_param {{ {fields} }}', [x])


def test_gradient_of_two_bottoms_in_place() -> None:
    random = np.random.default_rng(0)
    check_layer_gradient(
        'type: "Bias" bottom: "x" bottom: "b" top: "x"',
        [random.standard_normal((2, 3, 2)), random.standard_normal((3, 2))],
    )


@pytest.mark.parametrize(("axis", "shape"), [(0, (2,)), (1, (3, 2)), (-1, (2,)), (1, ())])
@pytest.mark.parametrize("bottoms", [[0, 1], [1]])
def test_gradient_of_two_bottoms(axis: int, shape: tuple[int, ...], bottoms: list[int]) -> None:
    random = np.random.default_rng(0)
    check_layer_gradient(
        f'type: "Bias" bias_param {{ axis: {axis} }}',
        [random.standard_normal((2, 3, 2)), random.standard_normal(shape)],
        bottoms=bottoms,
    )


@pytest.mark.parametrize("axes", ["axis: 3", "axis: -4", "num_axes: 3", "num_axes: -2"])
def test_axes_that_do_not_exist_are_refused(axes: str) -> None:
    with pytest.raises(ShapeError, match=r"axis -?\d does not exist|num_axes: expected -1 to 2"):
        make_layer(f'type: "Bias" bias_param {{ {axes} }}', [np.ones((2, 3, 2))])


def test_sizes_must_agree() -> None:
    with pytest.raises(ShapeError, match=r"expected the sizes \(3, 4\) from axis 1 on"):
        make_layer('type: "Bias"', [np.ones((2, 3, 5)), np.ones((3, 4))])


def test_bottom_that_no_longer_fits_the_parameter_is_refused() -> None:
    run = make_layer('type: "Bias"', [np.ones((2, 3))])
    run.bottom[0].reshape((2, 4))
    with pytest.raises(ShapeError, match=r"'bottom_0': expected the sizes \(3,\)"):
        run.forward()
