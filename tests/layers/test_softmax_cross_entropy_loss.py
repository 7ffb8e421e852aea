"""SoftmaxCrossEntropyLoss."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import (
    SMALLEST,
    Labelled,
    backends,
    check_loss,
    labelled,
    seeds,
    softmax,
    weights,
)


@pytest.mark.parametrize(
    "case", golden_cases("SoftmaxCrossEntropyLoss"), ids=lambda case: case.name
)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(axis: int = 1) -> str:
    return f'type: "SoftmaxCrossEntropyLoss" loss_weight: 0.7 softmax_param {{ axis: {axis} }}'


@settings(max_examples=20, deadline=None)
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4), data=st.data())
def test_gradient(shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    random = np.random.default_rng(0)
    targets = random.random(shape) * (random.random(shape) < 0.7) + 1e-3
    targets /= targets.sum(axis=axis, keepdims=True)
    check_layer_gradient(layer(axis), [random.standard_normal(shape), targets], bottoms=[0])


@settings(max_examples=40, deadline=None)
@given(case=labelled(first_axis=False), backend=backends, weight=weights, seed=seeds)
def test_equals_a_loop_over_positions(
    case: Labelled, backend: type[NumpyOps], weight: float, seed: int
) -> None:
    """Targets may be 0, negative, and of any sum."""
    samples = case.scores.shape[0] or 1
    rows = np.random.default_rng(seed).standard_normal(case.rows.shape).astype(np.float32)
    loss, gradient = 0.0, np.zeros(rows.shape)
    for row, targets, out in zip(case.rows, rows, gradient, strict=True):
        for place, (p, t) in enumerate(zip(softmax(row), targets.tolist(), strict=True)):
            out[place] = (p - t) / samples
            if t > 0:
                loss += t * (math.log(t) - math.log(max(p, SMALLEST))) / samples
    check_loss(
        f'type: "SoftmaxCrossEntropyLoss" softmax_param {{ axis: {case.axis} }}',
        [case.scores, case.as_scores(rows)],
        backend(np.float32),
        (loss, case.as_scores(gradient)),
        weight,
    )


def test_targets_that_are_the_probabilities_have_no_loss(ops: Ops) -> None:
    p = np.array([[0.25, 0.75], [0.5, 0.5]])
    run = make_layer('type: "SoftmaxCrossEntropyLoss"', [np.log(p), p], ops=ops)
    np.testing.assert_allclose(run.forward()[0], 0, atol=1e-6)


def test_extreme_scores_and_targets_stay_finite(ops: Ops) -> None:
    x, targets = np.array([[-1e4, 1e4, 0]]), np.array([[50.0, 0, -1]])
    run = make_layer('type: "SoftmaxCrossEntropyLoss"', [x, targets], ops=ops)
    assert np.isfinite(run.forward()[0])
    run.backward([True, False])
    np.testing.assert_array_equal(run.bottom[0].diff.read(), [[-50, 1, 1]])


def test_a_second_top_is_refused_with_the_layer_to_add() -> None:
    """The fork's has one top."""
    text = 'type: "SoftmaxCrossEntropyLoss" top: "loss" top: "p"'
    with pytest.raises(NetError, match=r'expected 1 top blob.*type: "Softmax" bottom: "bottom_0"'):
        make_layer(text, [np.zeros((1, 2))] * 2)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="'bottom_1': expected as many elements as 'bottom_0'"):
        make_layer(layer(), [np.ones((2, 3)), np.ones((2, 4))])
    with pytest.raises(ShapeError, match=r"softmax_param.axis 2 does not exist"):
        make_layer(layer(2), [np.ones((2, 3))] * 2)
    run = make_layer(layer(), [np.ones((2, 3))] * 2)
    with pytest.raises(NetError, match="labels have no gradient"):
        run.layer.backward(run.top, [True, True], run.bottom)
