"""Slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

TWO = 'type: "Slice" top: "a" top: "b"'
THREE = f'{TWO} top: "c"'


@pytest.mark.parametrize("case", golden_cases("Slice"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize(
    "param",
    [
        THREE,
        f"{TWO} slice_param {{ axis: 0 }}",
        f"{TWO} slice_param {{ axis: -1 slice_point: 2 }}",
        'type: "Slice" top: "a"',
    ],
)
def test_gradient(param: str) -> None:
    check_layer_gradient(param, [np.random.default_rng(0).standard_normal((2, 3, 5))])


@settings(max_examples=25, deadline=None)
@given(
    others=st.lists(st.integers(1, 3), max_size=5),
    parts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    data=st.data(),
)
def test_pieces_and_gradient(others: list[int], parts: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(others)))
    shape = (*others[:axis], sum(parts), *others[axis:])
    points = np.cumsum(parts)[:-1]
    field = data.draw(st.sampled_from([f"axis: {axis}", f"axis: {axis - len(shape)}"]))
    param = " ".join(
        [
            'type: "Slice"',
            *(f'top: "t{index}"' for index in range(len(parts))),
            f"slice_param {{ {field}",
            *(f"slice_point: {point}" for point in points),
            "}",
        ]
    )
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    pieces = make_layer(param, [x]).forward()
    for piece, expected in zip(pieces, np.split(x, points, axis), strict=True):
        np.testing.assert_array_equal(piece, expected)
    check_layer_gradient(param, [x])


def test_single_top_is_not_copied() -> None:
    run = make_layer('type: "Slice" top: "a"', [np.ones((2, 3))])
    assert run.top[0].data.shares_memory_with(run.bottom[0].data)
    assert run.top[0].diff.shares_memory_with(run.bottom[0].diff)


def test_axis_that_the_tops_do_not_divide_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"axis 1 of 'bottom_0': expected a multiple of .*, got 5"):
        make_layer(TWO, [np.ones((2, 5))])


@pytest.mark.parametrize("points", [(2, 2), (3, 2), (0, 2), (2, 5), (2, 9)])
def test_points_must_rise_within_the_axis(points: tuple[int, int]) -> None:
    given = " ".join(f"slice_point: {point}" for point in points)
    with pytest.raises(ShapeError, match="expected points that rise from 1 to 4"):
        make_layer(f"{THREE} slice_param {{ {given} }}", [np.ones((2, 5))])


def test_number_of_points_must_fit_the_tops() -> None:
    with pytest.raises(NetError, match=r"slice_point: expected 2 for 3 top\(s\), got 1"):
        make_layer(f"{THREE} slice_param {{ slice_point: 1 }}", [np.ones((2, 5))])


def test_both_forms_of_the_axis_are_refused() -> None:
    with pytest.raises(NetError, match="expected axis or its old form slice_dim, got both"):
        make_layer(f"{TWO} slice_param {{ axis: 1 slice_dim: 1 }}", [np.ones((2, 4))])
