"""FocalLoss."""

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
from tests.harness import LayerRun, check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import SMALLEST, Labelled, backends, check_loss, class_loss, labelled, weights

gammas = st.sampled_from([0, 0.5, 1, 2, 3.5])


@pytest.mark.parametrize("case", golden_cases("FocalLoss"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(fields: str = "", axis: int = 1, more: str = "") -> str:
    return (
        f'type: "FocalLoss" focal_loss_param {{ axis: {axis} {fields} }} '
        f"softmax_param {{ axis: {axis} }} {more}"
    )


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    data=st.data(),
    gamma=gammas,
    mode=st.sampled_from(["FULL", "VALID", "BATCH_SIZE", "NONE"]),
    ignored=st.sampled_from(["", "ignore_label: 0"]),
)
def test_gradient(
    shape: list[int], data: st.DataObject, gamma: float, mode: str, ignored: str
) -> None:
    axis = data.draw(st.integers(1, len(shape) - 1))
    random = np.random.default_rng(0)
    labels = random.integers(shape[axis], size=shape[:axis] + shape[axis + 1 :])
    more = f"loss_weight: 0.7 loss_param {{ normalization: {mode} {ignored} }}"
    check_layer_gradient(
        layer(f"alpha: 0.6 gamma: {gamma}", axis, more),
        [random.standard_normal(shape), labels],
        bottoms=[0],
    )


@settings(max_examples=60, deadline=None)
@given(
    case=labelled(),
    backend=backends,
    weight=weights,
    alpha=st.sampled_from([0.25, 1, -2, 0]),
    gamma=gammas,
)
def test_equals_a_loop_over_positions(
    case: Labelled, backend: type[NumpyOps], weight: float, alpha: float, gamma: float
) -> None:
    def position(p: list[float], label: int) -> tuple[float, list[float]]:
        own, log = p[label], math.log(max(p[label], SMALLEST))
        rest = math.fsum(each for place, each in enumerate(p) if place != label)
        slope = alpha * (gamma * own * rest ** (gamma - 1) * log - rest**gamma) if rest else -alpha
        gradient = [((place == label) - each) * slope for place, each in enumerate(p)]
        return -alpha * rest**gamma * log, gradient

    param = layer(f"alpha: {alpha} gamma: {gamma}", case.axis, f"loss_param {{ {case.fields} }}")
    expected = class_loss(case, position)
    check_loss(param, [case.scores, case.labels], backend(np.float32), expected, weight)


def test_a_hand_written_case(ops: Ops) -> None:
    run = _run(layer("alpha: 0.5 gamma: 1"), np.log([[1.0, 3.0]]), [0], ops)
    np.testing.assert_allclose(run.forward()[0], 0.5 * 0.75 * np.log(4), rtol=1e-6)
    run.backward([True, False])
    slope = 0.5 * (0.25 * np.log(0.25) - 0.75)
    expected = [[0.75 * slope, -0.75 * slope]]
    np.testing.assert_allclose(run.bottom[0].diff.read(), expected, rtol=1e-6)


def test_gamma_0_and_alpha_1_are_the_softmax_loss(ops: Ops) -> None:
    random = np.random.default_rng(0)
    bottoms = [random.standard_normal((3, 4, 2)), random.integers(0, 4, (3, 2))]
    more = "loss_param { ignore_label: 1 }"
    focal = make_layer(layer("alpha: 1 gamma: 0", more=more), bottoms, ops=ops)
    plain = make_layer(f'type: "SoftmaxWithLoss" {more}', bottoms, ops=ops)
    np.testing.assert_allclose(focal.forward()[0], plain.forward()[0], rtol=1e-5)
    for run in (focal, plain):
        run.backward([True, False])
    found, expected = (run.bottom[0].diff.read() for run in (focal, plain))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
@pytest.mark.parametrize("label", [0, 1])
def test_probabilities_0_and_1_give_a_finite_loss_and_gradient(
    label: int, gamma: float, ops: Ops
) -> None:
    """The derivative by p itself is infinite at 0, and for gamma below 1 at 1."""
    run = _run(layer(f"alpha: 2 gamma: {gamma}"), [[0.0, 1000.0]], [label], ops)
    expected = 0 if label else -2 * np.log(SMALLEST)
    np.testing.assert_allclose(run.forward()[0], expected, rtol=1e-6)
    run.backward([True, False])
    expected = [[0, 0]] if label else [[-2, 2]]
    np.testing.assert_array_equal(run.bottom[0].diff.read(), expected)


def test_loss_and_gradient_are_zero_where_all_labels_are_ignored(ops: Ops) -> None:
    run = _run(layer(more="loss_param { ignore_label: 9 }"), np.ones((2, 3)), [9, 9], ops)
    assert run.forward()[0] == 0
    run.backward([True, False])
    assert not run.bottom[0].diff.read().any()


@pytest.mark.parametrize("label", [3, -1, np.nan, np.inf])
def test_label_that_is_no_class_is_refused_with_its_sample(label: float, ops: Ops) -> None:
    run = _run(layer(), np.ones((4, 3)), [0, 2, label, label], ops)
    with pytest.raises(
        LabelError, match=r"'layer' .*label of sample 2 of the batch: expected 0 to 2"
    ):
        run.forward()


@pytest.mark.parametrize("blocks", ["focal_loss_param { axis: 2 }", "softmax_param { axis: 2 }"])
def test_two_axes_are_refused(blocks: str) -> None:
    with pytest.raises(NetError, match="expected the axis of the classes in both, got"):
        _run(f'type: "FocalLoss" {blocks}', np.ones((2, 3, 3)), np.ones((2, 3)))


def test_one_axis_may_be_counted_from_the_end() -> None:
    text = 'type: "FocalLoss" focal_loss_param { axis: -1 }'
    assert _run(text, np.zeros((1, 2)), [0]).forward()[0] == pytest.approx(np.log(2) / 16)


def test_a_number_of_labels_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected 8 labels.*got 2 in shape"):
        _run(layer(), np.ones((2, 3, 2, 2)), [0, 1])


def test_a_second_top_is_refused_with_the_layer_to_add() -> None:
    with pytest.raises(NetError, match=r'expected 1 top blob.*type: "Softmax" bottom: "bottom_0"'):
        _run('type: "FocalLoss" top: "loss" top: "p"', np.ones((2, 3)), [0, 1])


def test_a_gamma_below_0_is_refused() -> None:
    with pytest.raises(NetError, match=r"focal_loss_param.gamma: expected at least 0, got -1\. "):
        _run(layer("gamma: -1"), np.ones((2, 3)), [0, 1])


@pytest.mark.parametrize("field", ["type: LINEAR", "beta: 2"])
def test_a_field_of_another_fork_is_refused(field: str) -> None:
    with pytest.raises(NetError, match="expected it to be left out or at its default"):
        _run(layer(field), np.ones((2, 3)), [0, 1])


def test_labels_get_no_gradient() -> None:
    run = _run(layer(), np.ones((2, 3)), [0, 1])
    run.forward()
    with pytest.raises(NetError, match="'bottom_1' needs a gradient, but labels have no gradient"):
        run.backward([True, True])


def _run(param: str, scores: object, labels: object, ops: Ops | None = None) -> LayerRun:
    return make_layer(param, [scores, labels], ops=ops)
