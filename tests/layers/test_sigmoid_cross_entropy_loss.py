"""SigmoidCrossEntropyLoss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

CASES = golden_cases("SigmoidCrossEntropyLoss")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("mode", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (5,)])
def test_gradient(mode: str, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    check_layer_gradient(
        f"""type: "SigmoidCrossEntropyLoss" loss_weight: 0.7
        loss_param {{ normalization: {mode} ignore_label: -1 }}""",
        [3 * random.standard_normal(shape), random.integers(-1, 2, shape)],
        bottoms=[0],
    )


def test_extreme_scores_overflow_nothing(ops: Ops) -> None:
    x, target = np.array([[-1000.0, 1000.0]]), np.array([[1, 1]])
    run = make_layer('type: "SigmoidCrossEntropyLoss"', [x, target], ops=ops)
    assert run.forward()[0] == 1000
    run.backward([True, False])
    np.testing.assert_array_equal(run.bottom[0].diff.read(), [[-1, 0]])


def test_all_ignored_is_no_loss_and_no_gradient(ops: Ops) -> None:
    text = 'type: "SigmoidCrossEntropyLoss" loss_param { ignore_label: 7 normalization: VALID }'
    run = make_layer(text, [np.ones((2, 3)), np.full((2, 3), 7)], ops=ops)
    assert run.forward()[0] == 0
    run.backward([True, False])
    np.testing.assert_array_equal(run.bottom[0].diff.read(), 0)


def test_the_second_top_holds_the_probabilities(ops: Ops) -> None:
    text = 'type: "SigmoidCrossEntropyLoss" top: "loss" top: "p"'
    run = make_layer(text, [np.array([[0.0, 2.0]]), np.zeros((1, 2))], ops=ops)
    np.testing.assert_allclose(run.forward()[1], [[0.5, 1 / (1 + np.exp(-2))]], rtol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected as many elements"):
        make_layer('type: "SigmoidCrossEntropyLoss"', [np.ones((2, 3)), np.ones((2, 4))])
    run = make_layer('type: "SigmoidCrossEntropyLoss"', [np.ones((2, 3))] * 2)
    run.forward()
    with pytest.raises(NetError, match="labels have no gradient"):
        run.backward([True, True])
