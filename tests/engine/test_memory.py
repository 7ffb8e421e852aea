"""Predicting what a run takes, and refusing what cannot fit."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine import filler
from caffepy.engine.core.errors import NetError, OutOfMemoryError
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.core.units import size
from caffepy.engine.memory import Memory
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes import lifetimes
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.proto.caffe_pb2 import TEST, NetParameter, SolverParameter
from tests.host_runtime import HostRuntime
from tests.nets import make_net

# In floats: data (N, 6), labels (N), ip1 (N, 4), relu1 in place, ip2 (N, 3), loss; ip1 learns
# 4 x 6 + 4, ip2 3 x 4 (no bias).
NET = """name: "small"
layer { name: "in" type: "Input" top: "data" top: "label"
  input_param { shape { dim: BATCH dim: 6 } shape { dim: BATCH } } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { lr_mult: RATE }
  inner_product_param { num_output: 3 bias_term: false weight_filler { type: "gaussian" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""


def small(batch: int, rate: float = 1) -> NetParameter:
    text = NET.replace("BATCH", str(batch)).replace("RATE", str(rate))
    return text_format.Parse(text, NetParameter())


def floats(memory: Memory) -> dict[str, int]:
    kinds: dict[str, int] = {}
    for net in memory.nets:
        for use in net.uses:
            kinds[use.kind] = kinds.get(use.kind, 0) + use.bytes // 4
    return kinds


def test_what_is_one_memory_counts_once() -> None:
    memory = Memory(history=2)
    make_net(small(10), memory=memory)
    assert floats(memory) == {
        "data": 10 * (6 + 1 + 4 + 3) + 1,
        "gradients": 10 * (4 + 3),
        "parameters": 40,
        "their gradients": 40,
        "history": 80,
    }
    assert memory.total == 4 * sum(floats(memory).values())


def test_what_does_not_learn_has_no_gradient_and_no_history() -> None:
    memory = Memory(history=1)
    make_net(small(10, rate=0), memory=memory)
    assert floats(memory)["parameters"] == 40
    assert floats(memory)["their gradients"] == floats(memory)["history"] == 28


def test_a_test_net_adds_its_blobs_and_no_parameters() -> None:
    memory = Memory(history=1)
    make_net(small(10), memory=memory)
    before = floats(memory)
    make_net(small(2), memory=memory, phase=TEST)
    after = floats(memory)
    assert after.pop("data") == before.pop("data") + 2 * 14 + 1
    assert after == before


def test_data_that_take_turns_count_as_many_as_there_are_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 0)
    chain = "".join(
        f"""layer {{ name: "{top}" type: "TanH" bottom: "{bottom}" top: "{top}" }}"""
        for bottom, top in zip("xabc", "abcd", strict=True)
    )
    memory = Memory()
    make_net(
        f"""layer {{ name: "in" type: "Input" top: "x"
        input_param {{ shape {{ dim: 5 dim: 7 }} }} }} {chain}""",
        phase=TEST,
        memory=memory,
        keep=False,
    )
    assert floats(memory) == {"data": 4 * 35}  # x and d, and two of a, b and c


def test_shared_parameters_and_splits_count_once() -> None:
    text = """layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 8 dim: 5 } } }"""
    for name in "ab":
        text += f"""layer {{ name: "{name}" type: "InnerProduct" bottom: "x" top: "{name}"
          param {{ name: "w" }} inner_product_param {{ num_output: 2 bias_term: false
          weight_filler {{ type: "xavier" }} }} }}"""
    memory = Memory()
    net = make_net(text, memory=memory, phase=TEST)
    assert floats(memory) == {"data": 8 * (5 + 2 + 2), "parameters": 10}
    weights = [layer.blobs[0].data for layer in net.layers if layer.blobs]
    assert weights[0].shares_memory_with(weights[1])
    alone = make_net(small(1), memory=Memory()).layers[1].blobs[0].data.read()
    assert alone.any(), "filled although late"


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 500), limit=st.integers(700, 40_000))
def test_the_batch_size_that_is_named_fits_and_the_next_does_not(batch: int, limit: int) -> None:
    try:
        make_net(small(batch), memory=Memory(limit))
    except NetError as error:
        found = re.search(
            rf"of layer 'in' from {batch} to (\d+) at the most, (\d+) to be", str(error)
        )
        assert found is not None
        fitting, safe = map(int, found.groups())
        assert 1 <= safe <= fitting < batch
        make_net(small(fitting), memory=Memory(limit))
        with pytest.raises(NetError):
            make_net(small(fitting + 1), memory=Memory(limit))


def test_a_net_that_is_refused_was_given_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("filled")

    monkeypatch.setattr(filler, "fill", fail)
    huge = small(2)
    huge.layer[1].inner_product_param.num_output = 1 << 27
    with pytest.raises(NetError) as caught:
        make_net(huge, memory=Memory(1 << 30))
    message = str(caught.value)
    assert message.startswith("net 'small' (TRAIN): predicted memory: expected at most 1.0 GiB")
    assert "got 12.0 GiB" in message
    assert "blob 'ip1.0' of layer 'ip1' (134217728, 6) with 6.0 GiB, blob 'ip2.0' of la" in message
    assert "The layers' parameters take 10.0 GiB: make the largest smaller (num_output)" in message


def test_images_of_which_not_one_fits_are_told_apart() -> None:
    net = """layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 3 dim: 9999 } } }
    layer { name: "a" type: "ReLU" bottom: "x" top: "y" }"""
    with pytest.raises(NetError, match="Not even one sample at a time fits: use smaller images"):
        make_net(net, memory=Memory(50_000))


def test_only_the_five_largest_blobs_are_listed() -> None:
    net = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 8 dim: 9 } } }\n'
    for index in range(8):
        net += f'layer {{ name: "r{index}" type: "ReLU" bottom: "x" top: "y{index}" }}\n'
    with pytest.raises(NetError) as caught:
        make_net(net, memory=Memory(1000))
    assert str(caught.value).count("(8, 9) with 288 bytes") == 5


def solver_of(limit: int | None, test_batch: int = 1) -> Solver:
    param = SolverParameter(base_lr=0.1, lr_policy="fixed", max_iter=1, type="SGD", test_interval=1)
    param.train_net_param.CopyFrom(small(10))
    param.test_net_param.add().CopyFrom(small(test_batch))
    param.test_iter.append(1)
    return Solver(Settings(param), ops=NumpyOps(), registry=LAYERS, memory_limit=limit)


def test_a_solver_counts_its_history_and_all_nets(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "caffepy"):
        solver_of(10_000)
    assert (
        "Memory predicted: 1.4 KiB of 9.8 KiB (data 624 bytes, gradients 280 bytes, parameters 160 "
        "bytes, their gradients 160 bytes, history 160 bytes)"
    ) in caplog.messages
    assert "may not suffice" not in caplog.text
    with pytest.raises(NetError, match=r"got 5.5 KiB beside 1.3 KiB for the run's other nets"):
        solver_of(5000, test_batch=100)


def test_a_run_that_may_not_fit_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "caffepy"):
        solver_of(1500)
    assert "Memory may not suffice: 1.4 KiB of 1.5 KiB is predicted" in caplog.text


@pytest.mark.parametrize(
    ("nbytes", "expected"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes_are_written_in_a_fitting_unit(nbytes: int, expected: str) -> None:
    assert size(nbytes) == expected


# ---- on a GPU

CHAIN = """name: "chain"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 64 dim: 100 } } }
layer { name: "a" type: "TanH" bottom: "x" top: "a" }
layer { name: "b" type: "TanH" bottom: "a" top: "b" }
"""  # 25 KiB a blob


def gpu(folder: Path, limit: int) -> CudaOps:
    return CudaOps(HostRuntime(folder, limit))


def test_on_a_gpu_its_free_memory_is_the_limit(
    host_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ops = gpu(host_folder, 100_000)
    taken = ops.runtime.allocate(1000, ops.dtype)
    with caplog.at_level(logging.INFO, "caffepy"):
        net = make_net(CHAIN, ops, phase=TEST)
        net.memory.log()
    assert net.memory.limit == 100_000 - taken.nbytes
    assert (
        "Memory predicted: 75.0 KiB of 93.8 KiB free on the GPU (data 75.0 KiB)" in caplog.messages
    )
    assert (
        "Memory may not suffice: 75.0 KiB of 93.8 KiB free on the GPU is predicted, and"
        in caplog.text
    )


def test_a_net_too_large_for_the_gpu_is_refused(host_folder: Path) -> None:
    with pytest.raises(NetError) as caught:
        make_net(CHAIN, gpu(host_folder, 70_000), phase=TEST)
    message = str(caught.value)
    assert "expected at most 68.4 KiB, what is free on the GPU, got 75.0 KiB" in message
    assert "from 64 to 58 at the most, 32 to be safe, or use a GPU with more memory." in message


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_gpu_whose_memory_runs_out_is_explained(host_folder: Path, direction: str) -> None:
    ops = gpu(host_folder, 160_000)
    net = make_net("force_backward: true " + CHAIN, ops)
    held = []
    if direction == "backward":
        net.forward()
        net.blobs["b"].diff.write()
    while ops.runtime.memory()[0] > 30_000:  # somebody else takes it
        held.append(ops.runtime.allocate(1000, ops.dtype))
    with pytest.raises(OutOfMemoryError) as caught:
        net.forward_backward() if direction == "forward" else net.backward()
    message = str(caught.value)
    assert message.startswith("host device: memory: expected 25.0 KiB free, got ")
    assert (
        "The run was predicted to take 125.0 KiB, of 156.2 KiB that were free before it (data "
        "75.0 KiB, gradients 50.0 KiB); what layers keep besides is not in that."
    ) in message
    assert "The largest blobs are blob 'x' of layer 'in' (64, 100) with 50.0 KiB, blob" in message
    assert (
        "Reduce the batch size of layer 'in' of net 'chain' (TRAIN) from 64 to 32 to be safe, end "
        "what else uses the device, or use a GPU with more memory."
    ) in message
    assert caught.value.free < 30_000


def test_a_gpu_that_has_no_room_for_one_sample_is_explained_too(host_folder: Path) -> None:
    ops = gpu(host_folder, 100_000)
    net = make_net(CHAIN.replace("dim: 64", "dim: 1"), ops, phase=TEST)
    taken = ops.runtime.allocate(24_900, ops.dtype)
    with pytest.raises(OutOfMemoryError, match="Use smaller images or fewer channels, end what"):
        net.forward()
    assert taken.nbytes


def test_the_scratch_of_convolutions_counts_once_for_all_nets(host_folder: Path) -> None:
    ops = gpu(host_folder, 1 << 20)
    memory = Memory(device=ops.runtime)
    net = (
        CHAIN
        + """layer { name: "c" type: "Convolution" bottom: "b" top: "c"
      convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }"""
    )
    net = net.replace("dim: 64 dim: 100", "dim: 2 dim: 3 dim: 9 dim: 9")
    for _ in range(2):
        make_net(net, ops, phase=TEST, memory=memory)
    assert ops.scratch_bytes > 0
    blobs = sum(use.bytes for one in memory.nets for use in one.uses)
    assert memory.total == blobs + ops.scratch_bytes
