"""SoftmaxWithLoss."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import DataError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import LayerRun, check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import SMALLEST, Labelled, backends, check_loss, class_loss, labelled, weights
from tests.nets import make_net

LOSS = 'type: "SoftmaxWithLoss"'


@pytest.mark.parametrize("case", golden_cases("SoftmaxWithLoss"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=4),
    axis=st.integers(1, 3),
    normalization=st.sampled_from(["FULL", "VALID", "BATCH_SIZE", "NONE"]),
    ignore=st.booleans(),
)
def test_gradient(shape: list[int], axis: int, normalization: str, ignore: bool) -> None:
    axis = min(axis, len(shape) - 1)
    random = np.random.default_rng(0)
    labels = random.integers(shape[axis], size=shape[:axis] + shape[axis + 1 :])
    ignored = "ignore_label: 0" if ignore else ""
    check_layer_gradient(
        f"""{LOSS} softmax_param {{ axis: {axis} }} loss_weight: 0.7
        loss_param {{ normalization: {normalization} {ignored} }}""",
        [random.standard_normal(shape), labels],
        bottoms=[0],
    )


@settings(max_examples=60, deadline=None)
@given(case=labelled(), backend=backends, weight=weights)
def test_equals_a_loop_over_positions(
    case: Labelled, backend: type[NumpyOps], weight: float
) -> None:
    def position(p: list[float], label: int) -> tuple[float, list[float]]:
        gradient = [each - (place == label) for place, each in enumerate(p)]
        return -math.log(max(p[label], SMALLEST)), gradient

    param = f"{LOSS} softmax_param {{ axis: {case.axis} }} loss_param {{ {case.fields} }}"
    expected = class_loss(case, position)
    check_loss(param, [case.scores, case.labels], backend(np.float32), expected, weight)


def test_a_hand_written_case(ops: Ops) -> None:
    run = _run(np.log([[1.0, 3.0], [4.0, 1.0]]), [0, 1], "", ops)
    np.testing.assert_allclose(run.forward()[0], -(np.log(0.25) + np.log(0.2)) / 2, rtol=1e-6)
    run.backward([True, False])
    np.testing.assert_allclose(run.bottom[0].diff.read(), [[-0.375, 0.375], [0.4, -0.4]], rtol=1e-6)


@pytest.mark.parametrize(("axis", "block"), [(1, ""), (-1, r" softmax_param { axis: -1 }")])
def test_a_second_top_is_refused_with_the_layer_to_add(axis: int, block: str) -> None:
    with pytest.raises(NetError) as refusal:
        _run(np.ones((2, 3)), [0, 1], f'top: "loss" top: "prob" softmax_param {{ axis: {axis} }}')
    assert "expected 1 top blob, the loss, got 2: the second, 'prob'" in str(refusal.value)
    assert str(refusal.value).endswith(
        f'layer {{ name: "prob" type: "Softmax" bottom: "bottom_0" top: "prob"{block} }}.'
    )


def test_a_loss_without_a_top_may_have_a_weight() -> None:
    net = make_net(
        """layer { name: "in" type: "Input" top: "x" top: "label"
          input_param { shape { dim: 2 dim: 4 } shape { dim: 2 } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "label" loss_weight: -2 }
        """
    )
    net.forward()
    assert net.loss.read() == pytest.approx(-2 * np.log(4))


def test_loss_and_gradient_are_zero_where_all_labels_are_ignored(ops: Ops) -> None:
    run = _run(np.ones((2, 3)), [9, 9], "loss_param { ignore_label: 9 }", ops)
    assert run.forward()[0] == 0
    run.backward([True, False])
    assert not run.bottom[0].diff.read().any()


def test_probability_zero_gives_a_finite_loss(ops: Ops) -> None:
    run = _run([[0.0, 1000.0]], [0], "", ops)
    np.testing.assert_allclose(run.forward()[0], -np.log(np.finfo(np.float32).tiny), rtol=1e-6)


def test_labels_are_cut_to_integers_as_in_caffe() -> None:
    scores = np.arange(6.0).reshape(2, 3)
    cut = _run(scores, [1.9, -0.9], "").forward()[0]
    assert cut == _run(scores, [1, 0], "").forward()[0]


@pytest.mark.parametrize("label", [3, -1, np.nan, np.inf])
def test_label_that_is_no_class_is_refused_with_its_sample(label: float, ops: Ops) -> None:
    run = _run(np.ones((4, 3)), [0, 2, label, label], "", ops)
    with pytest.raises(
        DataError, match=r"'layer' .*label of sample 2 of the batch: expected 0 to 2"
    ):
        run.forward()


def test_refused_label_inside_an_image_is_named_by_its_position() -> None:
    labels = np.zeros((2, 1, 2, 2))
    labels[1, 0, 1, 0] = 7
    run = _run(np.ones((2, 3, 2, 2)), labels, "loss_param { ignore_label: 255 }")
    with pytest.raises(DataError, match=r"sample 1 of the batch at \(0, 1, 0\): .*255, got 7"):
        run.forward()


def test_number_of_labels_must_fit() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected 8 labels.*got 2 in shape"):
        _run(np.ones((2, 3, 2, 2)), [0, 1], "")


def test_scores_of_no_class_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected at least 1 class in axis 1, got shape \(2, 0"):
        _run(np.ones((2, 0)), [0, 1], "")


def test_numbers_of_samples_must_agree() -> None:
    with pytest.raises(ShapeError, match=r"as many samples \(axis 0\)"):
        _run(np.ones((2, 3)), np.zeros((1, 2)), "")


def test_labels_get_no_gradient() -> None:
    run = _run(np.ones((2, 3)), [0, 1], "")
    run.forward()
    with pytest.raises(NetError, match="'bottom_1' needs a gradient, but labels have no gradient"):
        run.backward([True, True])


def test_normalization_of_a_fork_is_refused() -> None:
    with pytest.raises(NetError, match=r"expected FULL, VALID, BATCH_SIZE, NONE, got PRE_FIXED"):
        _run(np.ones((2, 3)), [0, 1], "loss_param { normalization: PRE_FIXED }")


def _run(scores: object, labels: object, options: str, ops: Ops | None = None) -> LayerRun:
    return make_layer(f"{LOSS} {options}", [scores, labels], ops=ops)


@pytest.mark.parametrize(
    "option", ["loss_param { label_smoothing: 0.1 }", "softmax_param { scaling_temperature: 2 }"]
)
def test_option_of_a_fork_is_refused(option: str) -> None:
    with pytest.raises(NetError, match="expected it to be left out or at its default"):
        _run(np.ones((2, 3)), [0, 1], option)


def test_labels_that_are_written_anew_or_through_a_lease_are_looked_up_again(ops: Ops) -> None:
    net = make_net(
        """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
        layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 1 } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "loss" }
        force_backward: true""",
        ops,
    )
    net.blobs["x"].data.write()[...] = [[0, 2]]
    losses = []

    def run() -> None:
        net.forward_backward()
        losses.append(float(net.loss.read()))
        signs.append(list(np.sign(net.blobs["x"].diff.read()[0])))

    signs: list[list[float]] = []
    label = net.blobs["y"].data
    for number in (0, 1):
        label.write()[...] = number
        run()
    lease = label.lease()
    for number in (0, 1):
        lease[...] = number
        run()
    assert losses[0] > losses[1] + 1.9  # softplus(2) and softplus(-2)
    assert losses[2:] == losses[:2]
    assert signs == [[-1, 1], [1, -1]] * 2
