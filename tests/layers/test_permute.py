"""Permute."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 3, 5)).astype(np.float32)


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


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((3, 40, 33, 35), (0, 2, 3, 1)),
        ((2, 33, 41, 70), (0, 3, 1, 2)),
        ((5, 64, 9, 40), (3, 2, 1, 0)),
        ((300, 301), (1, 0)),
        ((2, 3, 1, 5, 2, 1, 3, 4, 2), (8, 1, 0, 5, 3, 7, 6, 2, 4)),
        ((1, 7, 1), (2, 1, 0)),
        ((3, 0, 2), (2, 0, 1)),
        ((), ()),
    ],
)
def test_shapes_of_all_kinds(shape: tuple[int, ...], order: tuple[int, ...], ops: Ops) -> None:
    x = RANDOM.standard_normal(shape).astype(np.float32)
    run = make_layer(layer(*order), [x], ops=ops)
    (top,) = run.forward()
    np.testing.assert_array_equal(top, x.transpose(order))
    run.top[0].diff.write()[...] = top
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff.read(), x)


@pytest.mark.parametrize("order", [(0, 3), (1, 1)])
def test_axes_that_do_not_exist_or_come_twice_are_refused(order: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"axes of 'bottom_0', 0 to 2, each once, got "):
        make_layer(layer(*order), [X])
