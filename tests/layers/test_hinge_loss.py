"""HingeLoss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


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


def test_a_hand_written_case(ops: Ops) -> None:
    x = np.array([[2.0, -1, 0.5], [-1, 3, 0]])  # margins 0, 0, 1.5 and 0, 4, 1 (label 2)
    for norm, loss, gradient in (
        ("L1", (1.5 + 4 + 1) / 2, [[0, 0, 0.5], [0, 0.5, -0.5]]),
        ("L2", (2.25 + 16 + 1) / 2, [[0, 0, 1.5], [0, 4, -1]]),
    ):
        run = make_layer(layer(norm), [x, np.array([0, 2])], ops=ops)
        np.testing.assert_allclose(run.forward()[0], loss)
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
