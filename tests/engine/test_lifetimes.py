"""Gradients that take turns in one memory: equal numbers, less memory, nothing for who looks."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.aligned import ALIGNMENT
from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.pool import Pool
from caffepy.engine.core.value import Value
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes import lifetimes
from tests.nets import make_net

FILLER = 'weight_filler { type: "xavier" }'
NET = f"""
layer {{ name: "in" type: "DummyData" top: "x" top: "label" dummy_data_param {{
  shape {{ dim: 4 dim: 3 dim: 8 dim: 8 }} shape {{ dim: 4 }}
  data_filler {{ type: "gaussian" }} data_filler {{ type: "constant" value: 1 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 {FILLER} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "a" type: "Convolution" bottom: "conv" top: "a"
  convolution_param {{ num_output: 6 kernel_size: 1 {FILLER} }} }}
layer {{ name: "b" type: "Pooling" bottom: "conv" top: "b"
  pooling_param {{ kernel_size: 3 pad: 1 stride: 1 }} }}
layer {{ name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }}
layer {{ name: "flat" type: "Flatten" bottom: "sum" top: "flat" }}
layer {{ name: "aside" type: "Power" bottom: "flat" top: "aside" loss_weight: 0.01 }}
layer {{ name: "ip" type: "InnerProduct" bottom: "flat" top: "ip"
  inner_product_param {{ num_output: 5 {FILLER} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""


@pytest.fixture(autouse=True)
def no_diff_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 0)


def net_of(ops: Ops, keep: bool) -> Net:
    return make_net(NET, ops, seed=1, keep=keep)


def gradients(net: Net) -> list[np.ndarray]:
    net.parameters.clear_diffs()
    net.forward_backward()
    return [one.blob.diff.read().copy() for one in net.parameters.learnable]


def test_the_gradients_of_parameters_are_those_of_a_net_that_keeps_all(ops: Ops) -> None:
    keeping, passing = net_of(ops, True), net_of(ops, False)
    for _ in range(3):  # recorded, and twice replayed
        for found, expected in zip(gradients(passing), gradients(keeping), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_small_diffs_are_kept(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = net_of(ops, True)
    monkeypatch.setattr(lifetimes, "SMALLEST", 4 * keeping.blobs["conv"].count)
    passing = net_of(ops, False)
    for net in (keeping, passing):
        gradients(net)
    assert not passing.blobs["conv"].diff.read().any()
    expected = keeping.blobs["ip"].diff.read()
    np.testing.assert_array_equal(passing.blobs["ip"].diff.read(), expected)


def test_diffs_of_blobs_read_as_zeros_afterwards_but_for_losses(ops: Ops) -> None:
    net = net_of(ops, False)
    gradients(net)
    names = ("conv", "a", "sum", "flat", "ip")
    assert not any(net.blobs[name].diff.read().any() for name in names)
    assert net.blobs["loss"].diff.read() == 1
    assert (net.blobs["aside"].diff.read() == np.float32(0.01)).all()


def test_a_diff_that_somebody_holds_keeps_its_content(ops: Ops) -> None:
    keeping, passing = net_of(ops, True), net_of(ops, False)
    held = passing.blobs["a"].diff.lease()
    for _ in range(3):
        gradients(keeping), gradients(passing)
        np.testing.assert_array_equal(held, keeping.blobs["a"].diff.read())


def test_a_partial_pass_leaves_its_diffs(ops: Ops) -> None:
    keeping, passing = net_of(ops, True), net_of(ops, False)
    for net in (keeping, passing):
        gradients(net)
        net.backward(end=5)
    expected = keeping.blobs["sum"].diff.read()
    np.testing.assert_array_equal(passing.blobs["sum"].diff.read(), expected)


def test_a_backward_pass_can_be_repeated_with_all_diffs_kept(ops: Ops) -> None:
    keeping, passing = net_of(ops, True), net_of(ops, False)
    for net in (keeping, passing):
        gradients(net)
    passing.repeat_backward()
    for name in ("conv", "a", "b", "sum"):
        expected = keeping.blobs[name].diff.read()
        np.testing.assert_array_equal(passing.blobs[name].diff.read(), expected)


def test_the_memory_of_all_diffs_is_that_of_the_few_there_are_at_once() -> None:
    net = net_of(NumpyOps(), False)
    gradients(net)
    pools = {
        id(value._storage.pool): value._storage.pool
        for group in net.passing_diffs
        for value in group
    }
    (pool,) = pools.values()
    assert pool is not None
    largest = 4 * net.blobs["conv"].count
    assert 2 * largest <= pool.free_bytes <= 4 * largest
    before = pool.free_bytes
    gradients(net)
    assert pool.free_bytes == before


def test_a_pool_gives_the_smallest_block_that_is_large_enough() -> None:
    pool = Pool()
    small, large = pool.take(100, PLAIN), pool.take(1000, PLAIN)
    pool.give(large), pool.give(small)
    assert pool.take(50, PLAIN) is small
    assert pool.take(50, PLAIN) is large
    assert pool.take(50, PLAIN) not in (small, large)


def test_a_pool_grows_by_a_block_in_place_of_its_largest() -> None:
    pool = Pool()
    for size in (100, 200):
        pool.give(pool.take(size, PLAIN))
    assert pool.free_bytes == 200
    taken = pool.take(300, PLAIN)
    assert taken.size == 300
    assert pool.free_bytes == 0


def test_a_block_gives_the_same_aligned_buffer_for_the_same_layout_and_shape() -> None:
    block = Pool().take(96, PLAIN)
    float32 = np.dtype(np.float32)
    buffer = block.buffer(PLAIN, (4, 6), float32)
    assert buffer.shape == (4, 6)
    assert buffer.ctypes.data % ALIGNMENT == 0
    assert block.buffer(PLAIN, (4, 6), float32) is buffer
    assert np.shares_memory(block.buffer(PLAIN, (24,), float32), buffer)


@pytest.mark.parametrize("shape", [(3, 4), (30, 40)])
def test_a_value_that_borrows_may_be_reshaped_and_read(shape: tuple[int, ...]) -> None:
    pool = Pool()
    value = Value((5, 6))
    value.borrow(pool)
    value.write()[...] = 7
    value.reshape(shape)
    assert (value.read().reshape(-1)[:12] == 7).all()
    value.release()
    assert not value.allocated
    assert not value.read().any()
    value.release()
    assert pool.free_bytes >= 4 * value.count


def test_release_is_of_no_effect_on_values_with_memory_of_their_own() -> None:
    value = Value((2,))
    value.write()[...] = 3
    value.release()
    assert (value.read() == 3).all()
