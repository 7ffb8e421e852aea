"""Softmax."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import Labelled, backends, close, labelled, seeds, softmax


@pytest.mark.parametrize("case", golden_cases("Softmax"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=10, deadline=None)
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), axis=st.integers(-4, 3))
def test_gradient(shape: list[int], axis: int) -> None:
    axis = max(min(axis, len(shape) - 1), -len(shape))
    x = np.random.default_rng(0).standard_normal(shape)
    check_layer_gradient(f'type: "Softmax" softmax_param {{ axis: {axis} }}', [x])


@settings(max_examples=30, deadline=None)
@given(case=labelled(first_axis=False), in_place=st.booleans(), backend=backends, seed=seeds)
def test_equals_a_loop_over_positions(
    case: Labelled, in_place: bool, backend: type[NumpyOps], seed: int
) -> None:
    blobs = 'bottom: "x" top: "x"' if in_place else ""
    text = f'type: "Softmax" {blobs} softmax_param {{ axis: {case.axis} }}'
    run = make_layer(text, [case.scores], ops=backend(np.float32))
    diffs = np.random.default_rng(seed).standard_normal(case.rows.shape).astype(np.float32)
    expected, gradient = np.zeros(diffs.shape), np.zeros(diffs.shape)
    for row, p, diff, out in zip(case.rows, expected, diffs, gradient, strict=True):
        p[:] = softmax(row)
        mean = sum(each * slope for each, slope in zip(p, diff, strict=True))
        out[:] = [each * (slope - mean) for each, slope in zip(p, diff, strict=True)]
    close(run.forward()[0], case.as_scores(expected), "top")
    run.top[0].diff.write()[...] = case.as_scores(diffs)
    run.backward()
    close(run.bottom[0].diff.read(), case.as_scores(gradient), "gradient")


def test_works_in_place(ops: Ops) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 2))
    apart = make_layer('type: "Softmax"', [x], ops=ops)
    in_place = make_layer('type: "Softmax" bottom: "x" top: "x"', [x], ops=ops)
    np.testing.assert_array_equal(apart.forward()[0], in_place.forward()[0])
    for run in (apart, in_place):
        run.top[0].diff.write()[...] = x
        run.layer.backward(run.top, [True], run.bottom)
    np.testing.assert_array_equal(apart.bottom[0].diff.read(), in_place.bottom[0].diff.read())


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_an_empty_blob_stays_empty(shape: tuple[int, ...], ops: Ops) -> None:
    run = make_layer('type: "Softmax"', [np.ones(shape)], ops=ops)
    assert run.forward()[0].shape == shape
    run.backward()


def test_axis_that_does_not_exist_is_named() -> None:
    with pytest.raises(ShapeError, match=r"softmax_param.axis 1 does not exist in 'bottom_0'"):
        make_layer('type: "Softmax"', [np.ones(3)])
