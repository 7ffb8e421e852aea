"""Bias."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Bias"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize(
    "axes", ["", "axis: 0 num_axes: 2", "axis: -2 num_axes: -1", "num_axes: 0"]
)
def test_gradient_of_the_parameter(axes: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 2))
    check_layer_gradient(f'type: "Bias" bias_param {{ {axes} filler {{ type: "gaussian" }} }}', [x])


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
