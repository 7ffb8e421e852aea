"""Permute."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

X = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)


def layer(*order: int) -> str:
    fields = " ".join(f"order: {axis}" for axis in order)
    return f'type: "Permute" permute_param {{ {fields} }}'


@pytest.mark.parametrize("case", golden_cases("Permute"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_value_gradient_and_origin(order: tuple[int, ...], ops: Ops) -> None:
    run = make_layer(layer(*order), [X], ops=ops)
    (top,) = run.forward()
    np.testing.assert_array_equal(top, X.transpose(order))
    places = [run.layer.origin(0, place, run.bottom) for place in range(top.size)]
    np.testing.assert_array_equal(X.ravel()[[place for _, place in places]], top.ravel())  # type: ignore[misc]
    check_layer_gradient(layer(*order), [X])


@pytest.mark.parametrize("order", [(0, 3), (1, 1)])
def test_axes_that_do_not_exist_or_come_twice_are_refused(order: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"axes of 'bottom_0', 0 to 2, each once, got "):
        make_layer(layer(*order), [X])
