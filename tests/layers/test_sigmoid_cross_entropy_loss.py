"""SigmoidCrossEntropyLoss."""

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
from tests.losses import MODES, backends, check_loss, seeds, shapes, weights

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


@settings(max_examples=40, deadline=None)
@given(
    shape=shapes,
    mode=st.sampled_from([*MODES, None]),
    ignore=st.sampled_from([None, 0, 1, 255]),
    large=st.booleans(),
    soft=st.booleans(),
    backend=backends,
    weight=weights,
    seed=seeds,
)
def test_equals_a_loop_over_elements(
    shape: tuple[int, ...],
    mode: str | None,
    ignore: int | None,
    large: bool,
    soft: bool,
    backend: type[NumpyOps],
    weight: float,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    scores = (random.standard_normal(shape) * (1e4 if large else 2)).astype(np.float32)
    targets = (random.random(shape) if soft else random.integers(0, 2, shape)).astype(np.float32)
    loss, counted, gradient = 0.0, 0, np.zeros(scores.size)
    pairs = zip(scores.reshape(-1).tolist(), targets.reshape(-1).tolist(), strict=True)
    for place, (x, t) in enumerate(pairs):
        if int(t) != ignore:
            counted += 1
            small = math.exp(-abs(x))
            loss += max(x, 0) - x * t + math.log1p(small)
            gradient[place] = (1 if x > 0 else small) / (1 + small) - t
    sizes = {"FULL": scores.size, "VALID": counted, "NONE": 1}
    divisor = max(1, sizes.get(mode or "BATCH_SIZE", shape[0]))
    fields = "" if ignore is None else f"ignore_label: {ignore}"
    fields += "" if mode is None else f" normalization: {mode}"
    check_loss(
        f'type: "SigmoidCrossEntropyLoss" loss_param {{ {fields} }}',
        [scores, targets.reshape((*shape, 1))],
        backend(np.float32),
        (loss / divisor, gradient.reshape(shape) / divisor),
        weight,
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


def test_a_second_top_is_refused_with_the_layer_to_add() -> None:
    """Caffe's has one top."""
    text = 'type: "SigmoidCrossEntropyLoss" top: "loss" top: "p"'
    with pytest.raises(NetError, match=r'expected 1 top blob.*type: "Sigmoid" bottom: "bottom_0"'):
        make_layer(text, [np.zeros((1, 2))] * 2)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected as many elements"):
        make_layer('type: "SigmoidCrossEntropyLoss"', [np.ones((2, 3)), np.ones((2, 4))])
    run = make_layer('type: "SigmoidCrossEntropyLoss"', [np.ones((2, 3))] * 2)
    run.forward()
    with pytest.raises(NetError, match="labels have no gradient"):
        run.backward([True, True])
