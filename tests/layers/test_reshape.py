"""Reshape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import CaffepyError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Reshape"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def test_gradient() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 2))
    check_layer_gradient('type: "Reshape" reshape_param { shape { dim: 3 dim: -1 } }', [x])


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("shape { dim: 0 dim: 0 dim: -1 }", (2, 3, 20)),
        ("shape { dim: 1 } axis: -1 num_axes: 0", (2, 3, 4, 5, 1)),
        ("shape { dim: 1 } axis: 0 num_axes: 0", (1, 2, 3, 4, 5)),
        ("shape { } axis: 1 num_axes: 0", (2, 3, 4, 5)),
        ("shape { dim: -1 } axis: -2", (2, 3, 4, 5)),
        ("shape { dim: 0 dim: 5 } axis: 2 num_axes: 2", (2, 3, 4, 5)),
    ],
)
def test_shape(param: str, expected: tuple[int, ...]) -> None:
    run = make_layer(f'type: "Reshape" reshape_param {{ {param} }}', [np.ones((2, 3, 4, 5))])
    assert run.top[0].shape == expected


def test_top_is_the_memory_of_the_bottom() -> None:
    run = make_layer('type: "Reshape" reshape_param { shape { dim: -1 } }', [np.ones((2, 3))])
    assert run.top[0].data.shares_memory_with(run.bottom[0].data)
    assert run.top[0].diff.shares_memory_with(run.bottom[0].diff)


@pytest.mark.parametrize(
    ("shape", "param", "expected"),
    [
        ((0, 4, 2, 3), "shape { dim: 0 dim: 0 dim: -1 }", (0, 4, 6)),
        ((0, 4, 3), "shape { dim: -1 dim: 12 }", (0, 12)),
        ((0, 6), "shape { dim: -1 dim: 2 } axis: 1", (0, 3, 2)),
        ((4, 0, 6), "shape { dim: 2 dim: 0 dim: -1 }", (2, 0, 12)),
    ],
)
def test_the_size_that_is_left_is_known_without_samples_too(
    shape: tuple[int, ...], param: str, expected: tuple[int, ...]
) -> None:
    run = make_layer(f'type: "Reshape" reshape_param {{ {param} }}', [np.ones(shape)])
    assert run.top[0].shape == expected


def test_a_size_that_could_be_any_is_refused() -> None:
    text = 'type: "Reshape" reshape_param { shape { dim: -1 dim: 0 } num_axes: 1 }'
    with pytest.raises(ShapeError, match=r"has, 0, got \(-1, 0, 0\)"):
        make_layer(text, [np.ones((3, 0))])


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("shape { dim: 7 }", r"expected as many elements as 'bottom_0' .* has, 120, got \(7,\)"),
        ("shape { dim: 7 dim: -1 }", r"expected as many elements .* got \(7, -1\)"),
        ("shape { dim: -1 dim: -1 }", "at most one -1, got -1, -1"),
        ("shape { dim: -2 }", "expected sizes from 0 up"),
        (
            "shape { dim: 0 } axis: 4",
            r"expected 0 only at the place of an axis .* got 0 for axis 4",
        ),
        ("shape { dim: 0 } axis: 5", "expected an axis from -5 to 4"),
        ("shape { dim: 0 } axis: 2 num_axes: 3", "got axis 2, num_axes 3"),
        ("shape { dim: 0 } num_axes: -2", "got axis 0, num_axes -2"),
    ],
)
def test_shape_that_does_not_fit_is_refused(param: str, message: str) -> None:
    with pytest.raises(CaffepyError, match=message):
        make_layer(f'type: "Reshape" reshape_param {{ {param} }}', [np.ones((2, 3, 4, 5))])


def test_cannot_work_in_place() -> None:
    with pytest.raises(NetError, match="it cannot work in place: top 'x' is also a bottom"):
        make_layer('type: "Reshape" bottom: "x" top: "x"', [np.ones((2, 3))])
