"""MultinomialLogisticLoss."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import backends, check_loss, seeds, shapes, weights


@pytest.mark.parametrize(
    "case", golden_cases("MultinomialLogisticLoss"), ids=lambda case: case.name
)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


LAYER = 'type: "MultinomialLogisticLoss" loss_weight: 0.7'


@settings(max_examples=20, deadline=None)
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_gradient(shape: list[int]) -> None:
    random = np.random.default_rng(0)
    label = random.integers(0, np.prod(shape[1:], dtype=int), shape[0])
    check_layer_gradient(LAYER, [random.random(shape) + 0.1, label], bottoms=[0])


@settings(max_examples=20, deadline=None)
@given(
    shape=shapes.filter(lambda shape: all(shape[1:])),
    backend=backends,
    weight=weights,
    seed=seeds,
)
def test_equals_a_loop_over_samples(
    shape: tuple[int, ...], backend: type[NumpyOps], weight: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    samples, classes = shape[0], int(np.prod(shape[1:], dtype=int))
    p = (random.random((samples, classes)) + 0.01).astype(np.float32)
    label = random.integers(0, classes, samples)
    loss, gradient = 0.0, np.zeros(p.shape)
    for sample, right in enumerate(label):
        chosen = float(p[sample, right])
        loss -= math.log(chosen) / samples
        gradient[sample, right] = -1 / chosen / samples
    check_loss(
        'type: "MultinomialLogisticLoss"',
        [p.reshape(shape), label.reshape(samples, 1, 1, 1)],
        backend(np.float32),
        (loss, gradient.reshape(shape)),
        weight,
    )


def test_the_probability_0_has_a_finite_loss(ops: Ops) -> None:
    run = make_layer(LAYER, [np.array([[0.0, 1]]), np.zeros(1)], ops=ops)
    np.testing.assert_allclose(run.forward()[0], 20 * np.log(10), rtol=1e-6)
    run.backward([True, False])
    np.testing.assert_allclose(run.bottom[0].diff.read(), [[-0.7e20, 0]], rtol=1e-6)


def test_an_empty_batch_has_no_loss(ops: Ops) -> None:
    run = make_layer(LAYER, [np.ones((0, 3)), np.ones(0)], ops=ops)
    assert run.forward()[0] == 0
    run.backward([True, False])


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_label_that_is_no_class_is_refused(bad: int, ops: Ops) -> None:
    run = make_layer(LAYER, [np.ones((2, 3)), np.array([0, bad])], ops=ops)
    with pytest.raises(LabelError, match=rf"label of sample 1 .*: expected 0 to 2, got {bad}"):
        run.forward()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="'bottom_1': expected one label per sample"):
        make_layer(LAYER, [np.ones((2, 3, 2)), np.ones((2, 2))])
    run = make_layer(LAYER, [np.ones((2, 3)), np.ones(2)])
    with pytest.raises(NetError, match="labels have no gradient"):
        run.layer.backward(run.top, [True, True], run.bottom)
