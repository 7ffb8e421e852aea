"""Exp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Exp"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(fields: str, names: str = "") -> str:
    return f'type: "Exp" {names} exp_param {{ {fields} }}'


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@pytest.mark.parametrize("base", [-1, 2, 0.5, 1])
@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (-0.6, 1.5), (0, 2)])
def test_gradient(base: float, scale: float, shift: float, names: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 2))
    check_layer_gradient(layer(f"base: {base} scale: {scale} shift: {shift}", names), [x])


def test_a_shift_too_large_for_a_factor_of_its_own(ops: Ops) -> None:
    x = np.array([-1000.0, -999.0])
    (top,) = make_layer(layer("shift: 1000"), [x], ops=ops).forward()
    np.testing.assert_allclose(top, [1, np.e], rtol=1e-6)


def test_too_large_a_power_is_inf_without_a_warning(ops: Ops) -> None:
    (top,) = make_layer(layer(""), [np.array([-1e3, 1e3])], ops=ops).forward()
    np.testing.assert_array_equal(top, [0, np.inf])


@pytest.mark.parametrize("base", ["0", "-2", "nan", "inf"])
def test_a_base_without_powers_is_refused(base: str) -> None:
    message = f"exp_param.base: expected a number above 0, or -1 for e, got {base}"
    with pytest.raises(NetError, match=message):
        make_layer(layer(f"base: {base}"), [np.ones(3)])
