"""Crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Crop"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(fields: str = "") -> str:
    return f'type: "Crop" crop_param {{ {fields} }}'


@settings(max_examples=25, deadline=None)
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=5), data=st.data())
def test_piece_and_gradient(shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    first = axis % len(shape)
    sizes = [data.draw(st.integers(1, size)) for size in shape[first:]]
    rest = zip(shape[first:], sizes, strict=True)
    offsets = [data.draw(st.integers(0, whole - piece)) for whole, piece in rest]
    text = layer(f"axis: {axis} " + " ".join(f"offset: {offset}" for offset in offsets))
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    reference = np.zeros([9] * first + sizes)
    (top,) = make_layer(text, [x, reference]).forward()
    piece = [slice(a, a + size) for a, size in zip(offsets, sizes, strict=True)]
    np.testing.assert_array_equal(top, x[(slice(None),) * first + tuple(piece)])
    check_layer_gradient(text, [x, reference], bottoms=[0])


def test_a_crop_of_nothing_is_empty_and_its_gradient_is_0(ops: Ops) -> None:
    run = make_layer(
        layer("offset: 3 offset: 1"), [np.ones((2, 1, 3, 3)), np.ones((9, 9, 0, 2))], ops=ops
    )
    assert run.forward()[0].shape == (2, 1, 0, 2)
    run.bottom[0].diff.write()[...] = 7
    run.backward()
    assert not run.bottom[0].diff.read().any()


def test_a_reference_that_needs_a_gradient_gets_0(ops: Ops) -> None:
    run = make_layer(layer(), [np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))], ops=ops)
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.bottom[1].diff.write()[...] = 7
    run.backward()
    assert not run.bottom[1].diff.read().any()
    np.testing.assert_array_equal(run.bottom[0].diff.read()[0, 0], [[1, 1, 0], [1, 1, 0], [0] * 3])


@pytest.mark.parametrize(
    ("fields", "shapes", "message"),
    [
        ("axis: 4", [(1, 1, 3, 3)] * 2, "crop_param.axis 4 does not exist in 'bottom_0'"),
        (
            "offset: 1 offset: 1 offset: 1",
            [(1, 1, 3, 3)] * 2,
            "crop_param.offset: expected one number, or one for each of the 2 axes from axis 2",
        ),
        (
            "offset: 2",
            [(1, 1, 3, 3), (1, 1, 2, 1)],
            r"\(1, 1, 3, 3\): expected at least 4 elements in axis 2: offset 2 and the 2 of",
        ),
        ("", [(1, 1, 3, 3), (1, 1, 2)], "'bottom_1': expected as many axes as 'bottom_0'"),
    ],
)
def test_what_does_not_fit_is_refused(
    fields: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        make_layer(layer(fields), [np.ones(shape) for shape in shapes])
