"""Axpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

RANDOM = np.random.default_rng(0)
LAYER = 'type: "Axpy"'


@pytest.mark.parametrize("case", golden_cases("Axpy"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("factor", [(2, 3), (2, 3, 1, 1)])
@pytest.mark.parametrize("rest", [(), (5,), (1, 7), (3, 2)])
def test_value_and_gradient(factor: tuple[int, ...], rest: tuple[int, ...], ops: Ops) -> None:
    a, x, y = (RANDOM.standard_normal(shape) for shape in (factor, (2, 3, *rest), (2, 3, *rest)))
    (top,) = make_layer(LAYER, [a, x, y], ops=ops).forward()
    expected = a.reshape(2, 3, *(1,) * len(rest)) * x + y
    np.testing.assert_allclose(top, expected, rtol=1e-5, atol=1e-6)
    check_layer_gradient(LAYER, [a, x, y])


@pytest.mark.parametrize(
    ("factor", "y", "message"),
    [
        ((2, 4), (2, 3, 5), "one factor for each sample and channel"),
        ((2, 3, 5), (2, 3, 5), "one factor for each sample and channel"),
        ((2, 3), (2, 3, 4), r"expected shape \(2, 3, 5\), that of 'bottom_1', got \(2, 3, 4\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    factor: tuple[int, ...], y: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        make_layer(LAYER, [np.zeros(factor), np.zeros((2, 3, 5)), np.zeros(y)])
