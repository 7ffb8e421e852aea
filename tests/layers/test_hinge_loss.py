"""HingeLoss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import backends, check_loss, close, seeds, shapes, weights


@pytest.mark.parametrize("case", golden_cases("HingeLoss"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(norm: str = "L1", weight: float = 1) -> str:
    return f'type: "HingeLoss" loss_weight: {weight} hinge_loss_param {{ norm: {norm} }}'


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), norm=st.sampled_from(["L1", "L2"])
)
def test_gradient(shape: list[int], norm: str) -> None:
    random = np.random.default_rng(0)
    label = random.integers(0, np.prod(shape[1:], dtype=int), shape[0])
    x = 2 * random.standard_normal(shape)
    check_layer_gradient(layer(norm, 0.7), [x, label], bottoms=[0])


@settings(max_examples=40, deadline=None)
@given(
    shape=shapes.filter(lambda shape: all(shape[1:])),
    norm=st.sampled_from(["L1", "L2"]),
    ties=st.booleans(),
    backend=backends,
    weight=weights,
    seed=seeds,
)
def test_equals_a_loop_over_scores_and_leaves_its_margins(
    shape: tuple[int, ...],
    norm: str,
    ties: bool,
    backend: type[NumpyOps],
    weight: float,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    scores = random.standard_normal(shape).astype(np.float32)
    if ties:
        scores = np.trunc(2 * scores)  # many margins of exactly 0
    samples, classes = shape[0], int(np.prod(shape[1:], dtype=int))
    label = random.integers(0, classes, samples)
    margins, gradient = np.zeros((samples, classes)), np.zeros((samples, classes))
    loss = 0.0
    for sample, row in enumerate(scores.reshape(samples, classes).tolist()):
        for place, x in enumerate(row):
            sign = 1 if place == label[sample] else -1
            margin = max(0, 1 - sign * x)
            margins[sample, place] = margin
            loss += margin ** (1 if norm == "L1" else 2) / samples
            slope = float(margin > 0) if norm == "L1" else 2 * margin
            gradient[sample, place] = -sign * slope / samples
    ops, bottoms = backend(np.float32), [scores, label.reshape(samples, 1, 1)]
    param = f'type: "HingeLoss" hinge_loss_param {{ norm: {norm} }}'
    check_loss(param, bottoms, ops, (loss, gradient.reshape(shape)), weight)
    run = make_layer(param, bottoms, ops=ops)
    run.forward()
    close(run.bottom[0].diff.read(), margins.reshape(shape), "margins")


def test_backward_needs_no_margins_in_the_diff(ops: Ops) -> None:
    """A script may clear the diffs before it calls backward."""
    run = make_layer(layer(), [np.array([[2.0, -1, 0.5]]), np.array([0])], ops=ops)
    run.forward()
    run.bottom[0].diff.clear()
    run.backward([True, False])
    np.testing.assert_allclose(run.bottom[0].diff.read(), [[0, 0, 1]])


def test_a_hand_written_case(ops: Ops) -> None:
    x = np.array([[2.0, -1, 0.5], [-1, 3, 0]])  # margins 0, 0, 1.5 and 0, 4, 1 (label 2)
    for norm, loss, gradient in (
        ("L1", (1.5 + 4 + 1) / 2, [[0, 0, 0.5], [0, 0.5, -0.5]]),
        ("L2", (2.25 + 16 + 1) / 2, [[0, 0, 1.5], [0, 4, -1]]),
    ):
        run = make_layer(layer(norm), [x, np.array([0, 2])], ops=ops)
        np.testing.assert_allclose(run.forward()[0], loss)
        np.testing.assert_array_equal(run.bottom[0].diff.read(), [[0, 0, 1.5], [0, 4, 1]])
        run.backward([True, False])
        np.testing.assert_allclose(run.bottom[0].diff.read(), gradient)


def test_an_empty_batch_has_no_loss(ops: Ops) -> None:
    run = make_layer(layer(), [np.ones((0, 3)), np.ones(0)], ops=ops)
    assert run.forward()[0] == 0
    run.backward([True, False])


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_label_that_is_no_class_is_refused(bad: int, ops: Ops) -> None:
    run = make_layer(layer(), [np.ones((2, 3)), np.array([[0], [bad]])], ops=ops)
    with pytest.raises(LabelError, match=rf"label of sample 1 .*: expected 0 to 2, got {bad}"):
        run.forward()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="'bottom_1': expected one label per sample"):
        make_layer(layer(), [np.ones((2, 3)), np.ones((2, 3))])
    with pytest.raises(ShapeError, match="'bottom_0': expected at least 1 class per sample"):
        make_layer(layer(), [np.ones((2, 0)), np.ones(2)])
    run = make_layer(layer(), [np.ones((2, 3)), np.ones(2)])
    with pytest.raises(NetError, match="labels have no gradient"):
        run.layer.backward(run.top, [True, True], run.bottom)
