"""BatchNorm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TEST
from tests.harness import check_layer_gradient, compare, golden_cases, make_layer, run_golden

IN_PLACE = 'bottom: "x" top: "x"'


def layer(fields: str = "", names: str = "") -> str:
    return f'type: "BatchNorm" {names} batch_norm_param {{ {fields} }}'


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("case", golden_cases("BatchNorm"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=10, deadline=None)
@given(
    shape=st.lists(st.integers(2, 4), min_size=1, max_size=4),
    eps=st.sampled_from([1e-5, 0.1]),
    names=st.sampled_from(["", IN_PLACE]),
)
def test_gradient(shape: list[int], eps: float, names: str) -> None:
    check_layer_gradient(layer(f"eps: {eps}", names), [images(*shape)], check_parameters=False)


@pytest.mark.parametrize("names", ["", IN_PLACE])
def test_gradient_with_stored_statistics(names: str) -> None:
    param = layer("use_global_stats: true eps: 0.3", names)
    check_layer_gradient(param, [images(3, 2, 2)], check_parameters=False)


def test_stored_statistics_are_weighted_sums_with_an_unbiased_variance(ops: Ops) -> None:
    run = make_layer(layer("moving_average_fraction: 0.5"), [images(4, 3, 2, 5)], ops=ops)
    run.forward()
    run.forward()
    x = images(4, 3, 2, 5)
    mean, variance, factor = (blob.data.read() for blob in run.layer.blobs)
    compare(mean, 1.5 * x.mean(axis=(0, 2, 3)), "mean")
    compare(variance, 1.5 * x.var(axis=(0, 2, 3), ddof=1), "variance")
    compare(factor, [1.5], "factor")


def test_phase_test_takes_what_training_stored(ops: Ops) -> None:
    train = make_layer(layer(), [images(4, 3, 5)], ops=ops)
    train.forward()
    test = make_layer(layer(), [images(1, 3, 5)], ops=ops, phase=TEST)
    for blob, source in zip(test.layer.blobs, train.layer.blobs, strict=True):
        blob.data.alias(source.data)
    (top,) = test.forward()
    x = images(4, 3, 5)
    mean, variance = x.mean(axis=(0, 2)), x.var(axis=(0, 2), ddof=1)
    expected = (images(1, 3, 5) - mean[:, None]) / np.sqrt(variance + 1e-5)[:, None]
    compare(top, expected, "normalised")


def test_a_single_element_per_channel_is_normalised_to_zero(ops: Ops) -> None:
    run = make_layer(layer(), [np.array([[3.0, -4.0]])], ops=ops)
    (top,) = run.forward()
    assert not top.any()
    compare(run.layer.blobs[1].data.read(), [0, 0], "variance")


def test_statistics_do_not_learn() -> None:
    run = make_layer(layer(), [images(2, 3)])
    assert [spec.lr_mult for spec in run.layer.param.param] == [0, 0, 0]
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward()
    assert not any(blob.diff.read().any() for blob in run.layer.blobs)


def test_a_learning_rate_for_statistics_is_refused() -> None:
    with pytest.raises(NetError, match=r"param 1: expected lr_mult 0.* got 1"):
        make_layer("param { lr_mult: 0 } param { decay_mult: 0 } " + layer(), [images(2, 3)])


def test_factor_and_bias_of_forks_are_refused() -> None:
    with pytest.raises(
        NetError, match=r"scale_bias: expected it to be left out .* from other layers"
    ):
        make_layer(layer("scale_bias: true"), [images(2, 3)])


def test_changed_channels_are_refused() -> None:
    run = make_layer(layer(), [images(2, 3)])
    run.bottom[0].reshape((2, 4))
    with pytest.raises(ShapeError, match="expected 3 channels, as when the statistics were made"):
        run.layer.reshape(run.bottom, run.top)


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected at least 1 element per channel"):
        make_layer(layer(), [images(0, 3)])
    assert make_layer(layer(), [images(0, 3)], phase=TEST).forward()[0].shape == (0, 3)


def test_a_scalar_is_refused() -> None:
    with pytest.raises(ShapeError, match="expected at least 1 axis, got a scalar"):
        make_layer(layer(), [np.ones(())])


def test_statistics_of_1000_passes_are_those_of_float64(ops: Ops) -> None:
    """Over batches whose mean and deviation wander."""
    random = np.random.default_rng(0)
    run = make_layer(layer("moving_average_fraction: 0.99"), [np.zeros((4, 2, 3))], ops=ops)
    mean, variance, weight = np.zeros(2), np.zeros(2), 0.0
    for step in range(1000):
        batch = np.float32(random.standard_normal((4, 2, 3)) * (1 + step / 500) + step / 100)
        run.bottom[0].data.write()[...] = batch
        run.layer.reshape(run.bottom, run.top)
        run.layer.forward(run.bottom, run.top)
        exact = batch.astype(np.float64)
        mean = 0.99 * mean + exact.mean(axis=(0, 2))
        variance = 0.99 * variance + exact.var(axis=(0, 2), ddof=1)
        weight = 0.99 * weight + 1
    sums = [blob.data.read() for blob in run.layer.blobs]
    compare(sums[0], mean, "means")
    compare(sums[1], variance, "variances")
    compare(sums[2], weight, "weight")
