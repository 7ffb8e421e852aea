"""Nets whose shapes change again and again: ops of shapes seen lately are found again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from caffepy.engine.core import ready_ops
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.conftest import onednn_ops
from tests.nets import make_net

NET = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "drop" }
layer { name: "up" type: "Deconvolution" bottom: "drop" top: "up"
  convolution_param { num_output: 2 kernel_size: 4 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "Reduction" bottom: "up" top: "loss" loss_weight: 1
  reduction_param { operation: SUMSQ } }
"""
SIZES = [(9, 9), (12, 7), (9, 9), (6, 8), (12, 7), (9, 9)]


def results(net: Net, size: tuple[int, int], passes: int) -> list[np.ndarray]:
    """The output and the gradients of the forward pass that follows `passes` others."""
    random = np.random.default_rng(size)
    net.blobs["x"].reshape((1, 3, *size))
    net.blobs["x"].data.write()[...] = random.standard_normal((1, 3, *size))
    net.passes.value = passes
    net.parameters.clear_diffs()
    net.forward_backward()
    found = [net.blobs["up"].data, *(one.blob.diff for one in net.parameters.learnable)]
    return [value.read().copy() for value in found]


def ops_of(net: Net) -> list[object]:
    return [vars(layer).get("op") for layer in net.layers]


def test_numbers_are_those_of_a_net_that_knows_one_shape(ops: Ops) -> None:
    used = make_net(NET, ops, seed=1, keep=False)
    for passes, size in enumerate(SIZES):
        fresh = make_net(NET, ops, seed=1, keep=False)
        for found, expected in zip(
            results(used, size, passes), results(fresh, size, passes), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_the_last_forward_pass_says_what_backward_does(ops: Ops) -> None:
    net, other = (make_net(NET, ops, seed=1) for _ in "ab")
    for size in SIZES[:4]:
        results(net, size, 0)
    expected = results(other, SIZES[0], 7)
    for found, wanted in zip(results(net, SIZES[0], 7), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("make_ops", [NumpyOps, onednn_ops])
def test_a_shape_seen_lately_finds_its_ops(make_ops: Callable[[], Ops]) -> None:
    net = make_net(NET, make_ops(), seed=1)
    results(net, (9, 9), 0)
    before = ops_of(net)
    results(net, (12, 7), 1)
    assert not any(one is other for one, other in zip(ops_of(net), before, strict=True) if one)
    results(net, (9, 9), 2)
    assert all(one is other for one, other in zip(ops_of(net), before, strict=True))


def test_few_shapes_are_kept(ops: Ops) -> None:
    net = make_net(NET, ops, seed=1)
    for size in range(6, 6 + 2 * ready_ops.SHAPES):
        results(net, (size, size), size)
    assert len(net.context.shelf) <= ready_ops.SHAPES * len(net.layers)


def test_ops_that_hold_much_memory_are_dropped(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_ops, "BYTES", 20_000)
    net = make_net(NET, ops, seed=1)
    for size in (40, 9, 50, 8):
        results(net, (size, size), size)
    assert net.context.shelf._held <= 20_000


def test_ops_that_hold_more_memory_than_planning_is_worth_are_not_kept(
    ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready_ops, "LARGE", 0)
    net = make_net(NET, ops, seed=1)
    for size in (9, 8, 9):
        results(net, (size, size), size)
    assert not net.context.shelf._held
