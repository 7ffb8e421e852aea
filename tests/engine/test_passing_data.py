"""Data that take turns in one memory in phase TEST: equal numbers, less memory."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine import diagnosis
from caffepy.engine.core.errors import NetError
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes import lifetimes
from caffepy.proto.caffe_pb2 import TEST
from tests.nets import make_net

FILLER = 'weight_filler { type: "xavier" }'
NET = f"""
layer {{ name: "in" type: "Input" top: "x" input_param {{
  shape {{ dim: 4 dim: 3 dim: 8 dim: 8 }} }} }}
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
layer {{ name: "more" type: "TanH" bottom: "aside" top: "more" }}
layer {{ name: "log" type: "Log" bottom: "flat" top: "log" }}
layer {{ name: "ip" type: "InnerProduct" bottom: "log" top: "ip"
  inner_product_param {{ num_output: 5 {FILLER} }} }}
"""
GIVEN_UP = ("conv", "a", "b", "sum", "flat", "log")
KEPT = ("x", "aside", "more", "ip")


@pytest.fixture(autouse=True)
def no_blob_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 0)


def net_of(ops: Ops, keep: bool) -> Net:
    net = make_net(NET, ops, phase=TEST, seed=1, keep=keep)
    fill(net)
    return net


def fill(net: Net, seed: int = 0) -> None:
    shape = net.blobs["x"].shape
    net.blobs["x"].data.write()[...] = np.random.default_rng(seed).uniform(0.1, 1, shape)
    for one in net.parameters.learnable:
        one.blob.data.write()[...] = np.abs(one.blob.data.read())  # for the logarithm


def content(net: Net, name: str) -> np.ndarray:
    return net.blobs[name].data.read().copy()


def test_outputs_losses_and_inputs_are_those_of_a_net_that_keeps_all(ops: Ops) -> None:
    keeping, passing = net_of(ops, True), net_of(ops, False)
    for seed in range(3):  # recorded, and twice replayed
        for net in (keeping, passing):
            fill(net, seed)
            net.forward()
        for name in KEPT:
            np.testing.assert_allclose(
                content(passing, name), content(keeping, name), rtol=1e-5, atol=1e-6
            )
        assert passing.loss.read() == pytest.approx(float(keeping.loss.read()), rel=1e-5)


def test_other_blobs_read_as_zeros_afterwards(ops: Ops) -> None:
    net = net_of(ops, False)
    for _ in range(2):
        net.forward()
        assert not any(content(net, name).any() for name in GIVEN_UP)


def test_a_blob_that_somebody_holds_keeps_its_content(ops: Ops) -> None:
    keeping, passing = net_of(ops, True), net_of(ops, False)
    held = {name: passing.blobs[name].data.lease() for name in ("conv", "a", "sum")}
    for seed in range(3):
        for net in (keeping, passing):
            fill(net, seed)
            net.forward()
        for name, array in held.items():
            np.testing.assert_allclose(array, content(keeping, name), rtol=1e-5, atol=1e-6)


def test_another_shape_is_served_too(ops: Ops) -> None:
    keeping, passing = net_of(ops, True), net_of(ops, False)
    for samples in (4, 2, 4, 6):
        for net in (keeping, passing):
            net.blobs["x"].reshape((samples, 3, 8, 8))
            fill(net)
            net.forward()
        found, expected = (content(net, "ip") for net in (passing, keeping))
        assert found.shape == (samples, 5)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_memory_of_all_data_is_that_of_the_few_there_are_at_once() -> None:
    net = net_of(NumpyOps(), False)
    sizes = []
    for _ in range(3):
        net.forward()
        (pool,) = {
            id(value._storage.pool): value._storage.pool
            for group in net.passing_data
            for value in group
        }.values()
        assert pool is not None
        sizes.append(pool.free_bytes)
    largest = 4 * net.blobs["conv"].count
    assert sizes == [3 * largest] * 3  # conv, a and b


def test_a_backward_pass_is_refused(ops: Ops) -> None:
    net = net_of(ops, False)
    net.forward()
    with pytest.raises(NetError, match=r"expected a net that keeps its data.*keep=True"):
        net.backward()


def test_where_nan_began_is_found(ops: Ops) -> None:
    net = net_of(ops, False)
    net.blobs["x"].data.write()[...] = -1
    net.forward()
    finding = diagnosis.find_in_forward(net, [net.blobs["ip"]])
    assert finding is not None
    assert (finding.layer.name, finding.what) == ("log", "top 'log'")


def test_what_a_layer_of_another_kind_reads_or_writes_is_kept() -> None:
    net = make_net(
        """layer { name: "in" type: "Input" top: "x" top: "keep" input_param {
          shape { dim: 3 dim: 2 } shape { dim: 3 } } }
        layer { name: "twice" type: "Power" bottom: "x" top: "twice" power_param { scale: 2 } }
        layer { name: "chosen" type: "Filter" bottom: "twice" bottom: "keep" top: "chosen" }
        layer { name: "tanh" type: "TanH" bottom: "chosen" top: "tanh" }
        layer { name: "sum" type: "Reduction" bottom: "tanh" top: "sum" }""",
        phase=TEST,
        keep=False,
    )
    for keep in ([1, 0, 1], [1, 0, 1], [0, 0, 1], [1, 1, 1]):
        net.blobs["x"].data.write()[...] = 0.25
        net.blobs["keep"].data.write()[...] = keep
        net.forward()
        assert (content(net, "twice") == 0.5).all()
        assert net.blobs["sum"].data.read() == pytest.approx(2 * sum(keep) * np.tanh(0.5))
    assert [value.shape for group in net.passing_data for value in group] == [(3, 2)]
