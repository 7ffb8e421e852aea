"""Flatten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Flatten"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def test_gradient() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 2))
    check_layer_gradient('type: "Flatten"', [x])


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ("axis: -2", (2, 3, 20)),
        ("axis: 1 end_axis: 1", (2, 3, 4, 5)),
        ("axis: 0", (120,)),
        ("axis: 2 end_axis: 1", (2, 3, 1, 4, 5)),
    ],
)
def test_shape(axes: str, expected: tuple[int, ...]) -> None:
    run = make_layer(f'type: "Flatten" flatten_param {{ {axes} }}', [np.ones((2, 3, 4, 5))])
    assert run.top[0].shape == expected


def test_top_is_the_memory_of_the_bottom() -> None:
    run = make_layer('type: "Flatten"', [np.ones((2, 3, 4))])
    assert run.top[0].data.shares_memory_with(run.bottom[0].data)
    assert run.top[0].diff.shares_memory_with(run.bottom[0].diff)


def test_top_follows_a_bottom_that_grows() -> None:
    run = make_layer('type: "Flatten"', [np.ones((2, 3, 4))])
    run.bottom[0].reshape((5, 3, 4))
    run.bottom[0].data.write()[...] = np.arange(60).reshape(5, 3, 4)
    np.testing.assert_array_equal(run.forward()[0], np.arange(60).reshape(5, 12))


def test_end_axis_before_axis_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"end_axis: expected axis 1 or a later one .*, got 0"):
        make_layer('type: "Flatten" flatten_param { axis: 2 end_axis: 0 }', [np.ones((2, 3, 4))])


def test_a_scalar_is_refused() -> None:
    with pytest.raises(ShapeError, match="axis 1 does not exist in 'bottom_0': expected a blob wi"):
        make_layer('type: "Flatten"', [1.0])
