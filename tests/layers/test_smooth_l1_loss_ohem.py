"""SmoothL1LossOHEM."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, make_layer

RANDOM = np.random.default_rng(0)
LAYER = 'type: "SmoothL1LossOHEM" top: "loss"'
TWO_TOPS = f'{LAYER} top: "sums" loss_weight: 1 loss_weight: 0'


def bottoms(count: int, *shape: int) -> list[np.ndarray]:
    pair = [2 * RANDOM.standard_normal(shape) for _ in range(2)]
    return pair + [RANDOM.choice([0, 1, 0.5], shape) for _ in range(count - 2)]


def errors(arrays: list[np.ndarray]) -> np.ndarray:
    """Each element's, one by one."""
    found = np.zeros(arrays[0].shape)
    for place in np.ndindex(found.shape):
        d = arrays[0][place] - arrays[1][place]
        if len(arrays) > 2:
            d *= arrays[2][place]
        found[place] = 0.5 * d * d if abs(d) < 1 else abs(d) - 0.5
    return found


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("shape", [(6,), (6, 4), (3, 4, 2, 5)])
@pytest.mark.parametrize(
    ("loss_param", "divisor"),
    [
        ("", lambda samples, positions: positions),
        ("normalization: FULL", lambda samples, positions: positions),
        ("normalization: BATCH_SIZE", lambda samples, positions: samples),
        ("normalize: false", lambda samples, positions: samples),
        ("normalization: NONE", lambda samples, positions: 1),
        ("normalization: PRE_FIXED", lambda samples, positions: 1),
        ("normalization: PRE_FIXED pre_fixed_normalizer: 2.5", lambda samples, positions: 2.5),
        ("normalization: PRE_FIXED pre_fixed_normalizer: 0.5", lambda samples, positions: 1),
    ],
)
def test_values_are_those_of_a_loop(
    count: int, shape: tuple[int, ...], loss_param: str, divisor: object, ops: Ops
) -> None:
    arrays = bottoms(count, *shape)
    layer = f"{TWO_TOPS} loss_param {{ {loss_param} }}"
    loss, sums = make_layer(layer, arrays, ops=ops).forward()
    expected = errors(arrays).reshape((*shape, 1, 1, 1)[:4])
    assert callable(divisor)
    share = divisor(shape[0], shape[0] * int(np.prod(shape[2:])))
    assert loss == pytest.approx(expected.sum() / share, rel=1e-5)
    np.testing.assert_allclose(sums, expected.sum(1, keepdims=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("loss_param", ["", "normalization: PRE_FIXED pre_fixed_normalizer: 3"])
def test_gradient(count: int, loss_param: str) -> None:
    layer = f"{LAYER} loss_weight: 0.3 loss_param {{ {loss_param} }}"
    assert check_layer_gradient(layer, bottoms(count, 3, 4, 2, 1), bottoms=[0, 1])


def test_weights_of_0_and_1_have_the_gradient_of_the_fork(ops: Ops) -> None:
    a, b = bottoms(2, 5, 4)
    weight = RANDOM.integers(0, 2, (5, 4))
    run = make_layer(f"{LAYER} loss_weight: 1", [a, b, weight], ops=ops)
    run.forward()
    run.backward()
    expected = np.clip(weight * (a - b), -1, 1) / 5
    np.testing.assert_allclose(run.bottom[0].diff.read(), expected, rtol=1e-5, atol=1e-6)
    assert not run.bottom[2].diff.read().any()
    assert not run.layer.allow_force_backward(2)


def test_it_warns_where_no_loss_weight_is_given(ops: Ops, caplog: pytest.LogCaptureFixture) -> None:
    run = make_layer(LAYER, bottoms(2, 3, 4), ops=ops)
    assert run.layer.loss_weight(0) == 0
    (record,) = (each for each in caplog.records if each.levelno == logging.WARNING)
    assert "(SmoothL1LossOHEM): this loss has no loss_weight" in record.getMessage()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_2': expected as many elements as 'bottom_0'"):
        make_layer(LAYER, [np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 4))])
    with pytest.raises(ShapeError, match="expected at most 4 axes"):
        make_layer(LAYER, [np.ones((2, 3, 1, 1, 1))] * 2)
    with pytest.raises(NetError, match="loss_weight of top 'sums': expected 0, got 1: only the"):
        make_layer(f'{LAYER} top: "sums" loss_weight: 1 loss_weight: 1', bottoms(2, 3, 4))
