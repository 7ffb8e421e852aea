"""Where the time of a step goes, told with a clock that only steps and updates move; on the GPU
engine by events, between which each piece of work takes 1 ms."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.record import Step
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetParameter, NetState
from caffepy.tools.fused_times import FusedTimes
from caffepy.tools.stopwatch import HostStopwatch
from tests.conftest import onednn_ops
from tests.host_runtime import HostRuntime

NET = """
layer { name: "data" type: "DummyData" top: "x" top: "y"
  dummy_data_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } shape { dim: 2 }
    data_filler { type: "constant" value: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: 16 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
layer { name: "ip" type: "InnerProduct" bottom: "c" top: "z" inner_product_param {
  num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "z" bottom: "y" top: "loss" }
"""
TICK = 0.25  # seconds that a step takes
Make = Callable[[int], tuple[Net, FusedTimes]]


@pytest.fixture
def make(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The net in a phase, and its times by a clock that moves by TICK with every step."""
    if ops.late and not isinstance(ops.runtime, HostRuntime):
        pytest.skip("how long a GPU takes is not known")
    now = [0.0]
    run = Step.__call__

    def step(self: Step) -> None:
        run(self)
        now[0] += TICK

    monkeypatch.setattr(Step, "__call__", step)

    def made(phase: int) -> tuple[Net, FusedTimes]:
        param = text.parse(NET, NetParameter)
        net = Net(param, NetState(phase=phase), ops=ops, registry=LAYERS, keep=False)
        on_host = isinstance(ops.runtime, HostRuntime)
        return net, FusedTimes(net, None if on_host else HostStopwatch(lambda: now[0]))

    return made


def test_the_groups_add_up_to_the_step(make: Make) -> None:
    _, times = make(TRAIN)
    *_, inside, between, watched, whole = list(times.table(4))
    assert inside.split()[-3:] == [watched.split()[-3], "100.0", "%"]
    assert between.split()[-3:] == ["0.0000", "0.0", "%"]
    assert whole.split()[-3:] == watched.split()[-3:]


def test_every_pass_and_the_update_are_told(make: Make) -> None:
    net, times = make(TRAIN)
    times.whole()
    groups = times.watched().groups
    names = {layer for name, layer in groups if name == "forward"}
    assert {"conv", "relu"} <= {one for name in names for one in name.split(" + ")}
    tick = 1 if net.ops.runtime else TICK * 1e3
    backward = {
        one: ms
        for (name, layer), ms in groups.items()
        for one in layer.split(" + ")
        if name == "backward"
    }
    assert min(backward["conv"], backward["ip"]) >= tick
    assert groups["update", "all parameters"] > 0
    assert net.observer is None


def test_in_phase_test_there_is_only_a_forward_pass(make: Make) -> None:
    _, times = make(TEST)
    times.whole()
    assert {name for name, _ in times.watched().groups} == {"forward"}


def test_a_step_leaves_the_weights_as_they_are(make: Make) -> None:
    net, times = make(TRAIN)
    before = [one.blob.data.read().copy() for one in net.parameters.learnable]
    list(times.table(2))
    for one, content in zip(net.parameters.learnable, before, strict=True):
        assert (one.blob.data.read() == content).all()


def test_a_gpus_own_clock_tells_of_each_group(cuda_runtime: CudaRuntime) -> None:
    ops = CudaOps(cuda_runtime)
    net = Net(text.parse(NET, NetParameter), NetState(phase=TRAIN), ops=ops, registry=LAYERS)
    *groups, _, _, watched, whole = list(FusedTimes(net).table(3))[1:]
    assert float(whole.split()[-3]) > 0
    assert sum(float(line.split()[-3]) for line in groups) <= float(watched.split()[-3]) * 1.001


def test_a_fused_step_bears_the_names_of_its_layers() -> None:
    ops = onednn_ops()
    net = Net(text.parse(NET, NetParameter), NetState(phase=TRAIN), ops=ops, registry=LAYERS)
    times = FusedTimes(net)
    times.whole()
    assert ("forward", "conv + relu") in times.watched().groups
