"""Power."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, compare, golden_cases, make_layer, run_golden

IN_PLACE = 'bottom: "x" top: "x"'


def layer(power: float, scale: float, shift: float, names: str = "") -> str:
    return f'type: "Power" {names} power_param {{ power: {power} scale: {scale} shift: {shift} }}'


@pytest.mark.parametrize("case", golden_cases("Power"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", IN_PLACE])
@pytest.mark.parametrize("power", [0, 0.37, 0.5, 1, 2, 3, -1])
@pytest.mark.parametrize(("scale", "shift"), [(0, 1.5), (1, 0), (0.6, 1.5), (-0.6, 3)])
def test_gradient(power: float, scale: float, shift: float, names: str) -> None:
    x = np.random.default_rng(0).random((2, 3, 4)) + 0.5
    check_layer_gradient(layer(power, scale, shift, names), [x])


def test_gradient_of_whole_powers_of_negative_numbers_and_zero() -> None:
    check_layer_gradient(layer(3, 2, 0), [np.array([-1.5, 0.0, 0.7])])
    check_layer_gradient(layer(2, 2, 0.5), [np.array([-1.5, -0.25, 0.7])])


def test_a_fractional_power_of_a_negative_number_is_nan_without_a_warning(ops: Ops) -> None:
    (top,) = make_layer(layer(0.5, 1, 0), [np.array([-1.0, 4.0])], ops=ops).forward()
    compare(top, [np.nan, 2], "roots")
    (top,) = make_layer(layer(-1, 1, 0), [np.array([0.0, 4.0])], ops=ops).forward()
    compare(top, [np.inf, 0.25], "reciprocals")


@pytest.mark.parametrize("content", [np.nan, np.inf, -1])
def test_power_0_and_scale_0_do_not_look_at_the_input(content: float, ops: Ops) -> None:
    x = np.full(3, content)
    (top,) = make_layer(layer(0, 2, 1), [x], ops=ops).forward()
    compare(top, np.ones(3), "power 0")
    (top,) = make_layer(layer(3, 0, -2), [x], ops=ops).forward()
    compare(top, np.full(3, -8), "scale 0")


@pytest.mark.parametrize(("power", "shift"), [(0.5, -1), (-1, 0), (30, 1e30)])
def test_a_constant_that_is_no_number_is_refused(power: float, shift: float) -> None:
    with pytest.raises(NetError, match=r"power_param: expected a finite shift\^power where scale"):
        make_layer(layer(power, 0, shift), [np.ones(3)])
