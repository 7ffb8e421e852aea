"""ArgMax."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import golden_cases, make_layer, run_golden
from tests.losses import backends, seeds, shapes


@pytest.mark.parametrize("case", golden_cases("ArgMax"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def places(x: object, param: str = "", ops: Ops | None = None) -> np.ndarray:
    text = f'type: "ArgMax" argmax_param {{ {param} }}'
    return make_layer(text, [np.array(x, np.float32)], ops=ops).forward()[0]


def test_the_last_of_equal_elements_comes_first(ops: Ops) -> None:
    x = [[1, 3, 3, 0], [2, 2, 2, 2]]
    np.testing.assert_array_equal(places(x, ops=ops), [[[2]], [[3]]])
    np.testing.assert_array_equal(places(x, "top_k: 3", ops), [[[2, 1, 0]], [[3, 2, 1]]])
    np.testing.assert_array_equal(places(x, "axis: 0", ops), [[1, 0, 0, 1]])


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    values=st.booleans(),
    data=st.data(),
)
def test_agrees_with_sorting_pairs(shape: list[int], values: bool, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    top_k = data.draw(st.integers(1, shape[axis]))
    x = np.random.default_rng(0).integers(0, 3, shape)
    found = places(x, f"axis: {axis} top_k: {top_k} out_max_val: {str(values).lower()}")

    def best(line: np.ndarray) -> list[int]:
        pairs = sorted(((value, place) for place, value in enumerate(line)), reverse=True)
        return [pair[0 if values else 1] for pair in pairs[:top_k]]

    np.testing.assert_array_equal(found, np.apply_along_axis(best, axis, x))


@settings(max_examples=30, deadline=None)
@given(shape=shapes.filter(lambda shape: all(shape[1:])), values=st.booleans(), data=st.data())
def test_agrees_with_sorting_pairs_of_whole_samples(
    shape: tuple[int, ...], values: bool, data: st.DataObject
) -> None:
    elements = int(np.prod(shape[1:], dtype=int))
    top_k = data.draw(st.integers(1, elements))
    x = np.random.default_rng(data.draw(seeds)).integers(0, 3, shape)
    ops = data.draw(backends)(np.float32)
    found = places(x, f"top_k: {top_k} out_max_val: {str(values).lower()}", ops)
    expected = np.zeros((shape[0], 1 + values, top_k))
    for sample, row in zip(x.reshape(shape[0], elements), expected, strict=True):
        pairs = sorted(((value, place) for place, value in enumerate(sample)), reverse=True)
        row[0] = [place for _, place in pairs[:top_k]]
        row[-1] = [pair[0 if values else 1] for pair in pairs[:top_k]]
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3,), (3, 1, 1)),
        ((3, 4), (3, 1, 1)),
        ((3, 4, 2), (3, 1, 1)),
        ((3, 4, 1, 1, 2), (3,) + (1,) * 4),
    ],
)
def test_the_top_without_axis_has_at_least_three_axes(
    shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert places(np.ones(shape)).shape == expected


def test_places_and_values_of_flattened_samples(ops: Ops) -> None:
    x = [[[1, 5], [7, 2]]]
    found = places(x, "top_k: 2 out_max_val: true", ops)
    np.testing.assert_array_equal(found, [[[2, 1], [7, 5]]])


def test_an_empty_batch_has_an_empty_top(ops: Ops) -> None:
    assert places(np.ones((0, 4)), ops=ops).shape == (0, 1, 1)


def test_what_does_not_fit_is_refused() -> None:
    for top_k in (0, 5):
        with pytest.raises(ShapeError, match=rf"top_k: expected 1 to 4, .*, got {top_k}\."):
            places(np.ones((2, 4)), f"top_k: {top_k}")
    with pytest.raises(ShapeError, match=r"argmax_param.axis 2 does not exist in 'bottom_0'"):
        places(np.ones((2, 4)), "axis: 2")
    with pytest.raises(NetError, match="softmax_threshold"):
        places(np.ones((2, 4)), "softmax_threshold: true")
    run = make_layer('type: "ArgMax"', [np.ones((2, 4))])
    with pytest.raises(NetError, match="places have no gradient"):
        run.layer.backward(run.top, [True], run.bottom)
