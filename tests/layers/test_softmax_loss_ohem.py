"""SoftmaxWithLossOHEM."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, make_layer

RANDOM = np.random.default_rng(0)
LAYER = 'type: "SoftmaxWithLossOHEM" top: "loss"'
THREE_TOPS = f'{LAYER} top: "prob" top: "losses"'


def expected_of(
    scores: np.ndarray, labels: np.ndarray, ignore: int | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Probabilities along axis 1, the loss at each position, and how many count."""
    prob = np.exp(scores - scores.max(1, keepdims=True))
    prob /= prob.sum(1, keepdims=True)
    losses = np.zeros(labels.shape)
    counted = 0
    for place in np.ndindex(labels.shape):
        sample, *inside = place
        label = int(labels[place])
        if label != ignore:
            row = prob[sample].reshape(scores.shape[1], -1)
            within = int(np.ravel_multi_index(inside, labels.shape[1:])) if inside else 0
            losses[place] = -np.log(row[label, within])
            counted += 1
    return prob, losses, counted


@pytest.mark.parametrize(
    ("scores", "labels"),
    [((7, 5), (7,)), ((7, 5, 1, 1), (7, 1, 1, 1)), ((2, 4, 3, 2), (2, 1, 3, 2))],
)
@pytest.mark.parametrize(
    ("loss_param", "divisor"),
    [
        ("", "counted"),
        ("ignore_label: 1", "counted"),
        ("ignore_label: -1", "counted"),
        ("ignore_label: 1 normalization: FULL", "all"),
        ("ignore_label: 1 normalization: BATCH_SIZE", "samples"),
        ("normalization: NONE", 1),
        ("ignore_label: 1 normalization: PRE_FIXED pre_fixed_normalizer: 2.5", 2.5),
    ],
)
def test_values_are_those_of_a_loop(
    scores: tuple[int, ...],
    labels: tuple[int, ...],
    loss_param: str,
    divisor: object,
    ops: Ops,
) -> None:
    x, label = RANDOM.standard_normal(scores), RANDOM.integers(0, 4, labels)
    ignore = 1 if "ignore_label: 1" in loss_param else None
    if "ignore_label: -1" in loss_param:
        label.flat[2], ignore = -1, -1
    prob, losses, counted = expected_of(x, label, ignore)
    sizes = {"counted": counted, "all": label.size, "samples": len(label)}
    share = sizes.get(str(divisor), divisor)
    tops = make_layer(f"{THREE_TOPS} loss_param {{ {loss_param} }}", [x, label], ops=ops).forward()
    assert tops[0] == pytest.approx(losses.sum() / share, rel=1e-5)
    np.testing.assert_allclose(tops[1], prob, rtol=1e-5)
    np.testing.assert_allclose(tops[2], losses, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss_param", ["", "normalization: PRE_FIXED pre_fixed_normalizer: 3"])
def test_gradient(loss_param: str) -> None:
    layer = f"{LAYER} loss_weight: 0.3 loss_param {{ ignore_label: 1 {loss_param} }}"
    bottoms = [RANDOM.standard_normal((2, 4, 3, 2)), RANDOM.integers(0, 4, (2, 1, 3, 2))]
    assert check_layer_gradient(layer, bottoms, bottoms=[0])


def test_the_other_tops_change_no_gradient(ops: Ops) -> None:
    x, label = RANDOM.standard_normal((7, 5)), RANDOM.integers(0, 5, 7)
    found = []
    for layer in (LAYER, f'{LAYER} top: "prob"', THREE_TOPS):
        run = make_layer(layer, [x, label], ops=ops)
        run.forward()
        for blob in run.top[1:]:
            blob.diff.write()[...] = 1
        run.backward([True, False])
        found.append(run.bottom[0].diff.read())
        assert [run.layer.loss_weight(index) for index in range(3)] == [1, 0, 0]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_a_label_that_is_no_class_is_refused(ops: Ops) -> None:
    run = make_layer(THREE_TOPS, [np.ones((3, 2)), [0, 1, 2]], ops=ops)
    with pytest.raises(LabelError, match="label of sample 2 of the batch: expected 0 to 1, got 2"):
        run.forward()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="expected 3 labels"):
        make_layer(LAYER, [np.ones((3, 2)), np.ones((3, 2))])
    with pytest.raises(NetError, match="loss_weight of top 'prob': expected 0, got 1: only the"):
        make_layer(
            f'{LAYER} top: "prob" loss_weight: 1 loss_weight: 1', [np.ones((3, 2)), np.zeros(3)]
        )
    run = make_layer(LAYER, [np.ones((3, 2)), np.zeros(3)])
    with pytest.raises(NetError, match="labels have no gradient"):
        run.layer.backward(run.top, [True, True], run.bottom)
