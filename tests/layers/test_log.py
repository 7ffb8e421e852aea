"""Log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Log"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(fields: str, names: str = "") -> str:
    return f'type: "Log" {names} log_param {{ {fields} }}'


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@pytest.mark.parametrize("base", [-1, 2, 0.5])
@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (-0.6, 3), (0, 2)])
def test_gradient(base: float, scale: float, shift: float, names: str) -> None:
    x = np.random.default_rng(0).random((2, 3, 2)) + 0.5
    check_layer_gradient(layer(f"base: {base} scale: {scale} shift: {shift}", names), [x])


def test_0_and_negative_numbers_give_no_warning(ops: Ops) -> None:
    (top,) = make_layer(layer(""), [np.array([-1.0, 0, 1])], ops=ops).forward()
    np.testing.assert_array_equal(top, [np.nan, -np.inf, 0])


@pytest.mark.parametrize("base", ["0", "1", "-2", "inf"])
def test_a_base_without_logarithms_is_refused(base: str) -> None:
    with pytest.raises(NetError, match=rf"log_param.base: expected a number above 0 .* got {base}"):
        make_layer(layer(f"base: {base}"), [np.ones(3)])


def test_a_constant_that_has_no_logarithm_is_refused() -> None:
    with pytest.raises(NetError, match="expected a shift above 0 where scale is 0, got -1"):
        make_layer(layer("scale: 0 shift: -1"), [np.ones(3)])
