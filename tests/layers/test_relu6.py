"""ReLU6."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

RANDOM = np.random.default_rng(0)


def layer(slope: float = 0.0, names: str = "") -> str:
    return f'{names} type: "ReLU6" relu6_param {{ negative_slope: {slope} }}'


@pytest.mark.parametrize("case", golden_cases("ReLU6"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@pytest.mark.parametrize("slope", [0, 0.2, 1.5])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3,), (), (2, 0)])
def test_value_and_gradient(shape: tuple[int, ...], slope: float, names: str, ops: Ops) -> None:
    x = 6 * RANDOM.standard_normal(shape).astype(np.float32)
    run = make_layer(layer(slope, names), [x], ops=ops)
    (top,) = run.forward()
    expected = np.minimum(np.maximum(x, 0) + slope * np.minimum(x, 0), 6)
    np.testing.assert_allclose(top, expected, rtol=1e-6)
    run.top[0].diff.write()[...] = 2
    run.backward()
    factor = np.where(x <= 0, slope, np.where(x < 6, 1, 0))
    np.testing.assert_allclose(run.bottom[0].diff.read(), 2 * factor, rtol=1e-6)
    if x.size:
        check_layer_gradient(layer(slope, names), [x])


def test_corners_and_what_is_not_finite(ops: Ops) -> None:
    run = make_layer(layer(0.5), [np.array([0, 6, 7, np.inf, -np.inf, np.nan])], ops=ops)
    np.testing.assert_array_equal(run.forward()[0], [0, 6, 6, 6, -np.inf, np.nan])
    run.top[0].diff.write()[...] = 1
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff.read(), [0.5, 0, 0, 0, 0.5, 0])
    (top,) = make_layer(layer(), [np.array([-np.inf, np.inf, np.nan])], ops=ops).forward()
    np.testing.assert_array_equal(top, [0, 6, np.nan])


@pytest.mark.parametrize("slope", ["-0.1", "nan", "inf"])
def test_a_slope_below_zero_is_refused(slope: str) -> None:
    with pytest.raises(NetError, match="negative_slope: expected 0 or more, got"):
        make_layer(f'type: "ReLU6" relu6_param {{ negative_slope: {slope} }}', [np.ones(3)])
