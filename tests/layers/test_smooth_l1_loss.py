"""SmoothL1Loss."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.weights_file import save_weights
from caffepy.proto.caffe_pb2 import NetParameter
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.nets import make_net

RANDOM = np.random.default_rng(0)
SHAPE = 3, 4, 2, 5
WEIGHTS = np.array([0, 1, 0.5, -2])


def bottoms(count: int, *shape: int) -> list[np.ndarray]:
    """a and b, near and far from each other, then weights."""
    pair = [2 * RANDOM.standard_normal(shape or SHAPE) for _ in range(2)]
    return pair + [RANDOM.choice(WEIGHTS, shape or SHAPE) for _ in range(count - 2)]


def loss_of(arrays: list[np.ndarray], sigma: float) -> float:
    """The loss, element by element."""
    total = 0.0
    a, b, *weights = (array.ravel() for array in arrays)
    for i in range(a.size):
        d = a[i] - b[i]
        if weights:
            d *= weights[0][i]
        near = abs(d) < 1 / sigma**2
        error = 0.5 * (sigma * d) ** 2 if near else abs(d) - 0.5 / sigma**2
        total += error * (weights[1][i] if len(weights) > 1 else 1)
    return total / len(arrays[0])


@pytest.mark.parametrize("case", golden_cases("SmoothL1Loss"), ids=lambda case: case.name)
def test_equals_the_forks(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("sigma", [0.4, 1, 3])
def test_value_is_that_of_a_loop(count: int, sigma: float, ops: Ops) -> None:
    arrays = bottoms(count)
    block = f"smooth_l1_loss_param {{ sigma: {sigma} }} loss_weight: 1"
    (top,) = make_layer(f'type: "SmoothL1Loss" {block}', arrays, ops=ops).forward()
    assert top == pytest.approx(loss_of(arrays, sigma), rel=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("sigma", [0.4, 1, 3])
def test_gradient(count: int, sigma: float) -> None:
    block = f"smooth_l1_loss_param {{ sigma: {sigma} }} loss_weight: 0.3"
    arrays = bottoms(count, 3, 5)
    assert check_layer_gradient(f'type: "SmoothL1Loss" {block}', arrays, bottoms=[0, 1])


def test_weights_that_need_a_gradient_get_0(ops: Ops) -> None:
    run = make_layer('type: "SmoothL1Loss" loss_weight: 1', bottoms(4), ops=ops)
    run.forward()
    run.backward()
    assert not run.bottom[2].diff.read().any()
    assert not run.bottom[3].diff.read().any()
    assert run.bottom[0].diff.read().any()
    assert [run.layer.allow_force_backward(index) for index in range(4)] == [
        True,
        True,
        False,
        False,
    ]


def test_nan_and_inf_show_in_the_loss(ops: Ops) -> None:
    for number in (np.nan, np.inf):
        run = make_layer('type: "SmoothL1Loss"', [[[0, number]], [[0, 0]]], ops=ops)
        np.testing.assert_equal(run.forward()[0], np.float32(number))


def test_no_samples_have_no_loss(ops: Ops) -> None:
    run = make_layer('type: "SmoothL1Loss"', [np.ones((0, 3))] * 2, ops=ops)
    assert run.forward()[0] == 0
    run.backward()


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ("", 1),
        ("loss_weight: 2", 2),
        ("smooth_l1_loss_param { }", 0),
        ("smooth_l1_loss_param { sigma: 1 } loss_weight: 0", 0),
        ("smooth_l1_loss_param { sigma: 1 } loss_weight: 3", 3),
        ('bottom: "a" bottom: "a"', 0),
    ],
)
def test_only_the_ssd_kind_has_a_default_loss_weight(
    fields: str, weight: float, caplog: pytest.LogCaptureFixture
) -> None:
    net = make_net(
        f"""
        layer {{ name: "x" type: "Input" top: "a" top: "b" top: "w"
          input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
        layer {{ name: "loss" type: "SmoothL1Loss" bottom: "a" bottom: "b" top: "loss" {fields} }}
        """
    )
    net.blobs["a"].data.write()[...] = 1
    net.forward()
    assert net.blobs["loss"].data.read() == 1.5
    assert net.loss.read() == 1.5 * weight
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    if weight == 0 and "loss_weight" not in fields:
        (warning,) = warnings
        assert "layer 'loss' (SmoothL1Loss): this loss has no loss_weight" in warning
        assert "Give it one" in warning
    else:
        assert not warnings


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected as many elements as 'bottom_0'"):
        make_layer('type: "SmoothL1Loss"', [np.ones((2, 3)), np.ones((2, 4))])
    with pytest.raises(ShapeError, match=r"'bottom_3': expected as many elements as 'bottom_0'"):
        make_layer('type: "SmoothL1Loss"', [*[np.ones((2, 3))] * 3, np.ones((2, 4))])
    with pytest.raises(NetError, match="expected 2 to 4 bottom"):
        make_layer('type: "SmoothL1Loss"', [np.ones((2, 3))] * 5)
    for sigma in ("0", "-1", "nan", "inf"):
        with pytest.raises(NetError, match="sigma: expected a number above 0, got"):
            make_layer(
                f'type: "SmoothL1Loss" smooth_l1_loss_param {{ sigma: {sigma} }}',
                [np.ones((2, 3))] * 2,
            )


def test_weights_files_hold_the_default_that_there_is(tmp_path: Path) -> None:
    for fields, expected in (("", [1.0]), ("smooth_l1_loss_param { sigma: 1 }", [])):
        net = make_net(
            f"""
            layer {{ name: "x" type: "Input" top: "a" top: "b"
              input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
            layer {{ name: "loss" type: "SmoothL1Loss" bottom: "a" bottom: "b" {fields} }}"""
        )
        save_weights(net, tmp_path / "w")
        saved = NetParameter.FromString((tmp_path / "w").read_bytes())
        assert list(saved.layer[-1].loss_weight) == expected
