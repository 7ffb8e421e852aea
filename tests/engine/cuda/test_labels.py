"""Labels on the GPU engine: refused by the host where they lie there, else by kernels."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from caffepy.engine.core.errors import LabelError
from caffepy.engine.net import Net
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.harness import LayerRun, make_layer
from tests.host_runtime import HostRuntime
from tests.nets import make_net

LAYERS = {
    "SoftmaxWithLoss": 'type: "SoftmaxWithLoss"',
    "SoftmaxWithLoss, ignoring": 'type: "SoftmaxWithLoss" loss_param { ignore_label: 9 }',
    "FocalLoss": 'type: "FocalLoss"',
    "CenterLoss": 'type: "CenterLoss" loss_weight: 1 center_loss_param { num_output: 3 }',
    "InfogainLoss": 'type: "InfogainLoss"',
    "HingeLoss": 'type: "HingeLoss"',
    "MultinomialLogisticLoss": 'type: "MultinomialLogisticLoss"',
    "Accuracy": 'type: "Accuracy"',
}
NET = """
    layer { name: "in" type: "Input" top: "x" top: "label"
      input_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
    %s
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "%s" top: "loss"
      propagate_down: true propagate_down: false }
    force_backward: true
"""
MADE = 'layer { name: "made" type: "Power" bottom: "label" top: "made" }'  # on the device


def cuda_ops(runtime: CudaRuntime) -> CudaOps:
    return CudaOps(runtime, precision="fp32")


def loss_of(kind: str, ops: CudaOps, labels: list[float]) -> LayerRun:
    """A layer with 3 classes, and its labels."""
    scores = np.abs(np.random.default_rng(0).standard_normal((len(labels), 3)))
    matrix = [np.eye(3)] if kind == "InfogainLoss" else []
    return make_layer(LAYERS[kind], [scores, np.array(labels), *matrix], ops=ops)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bad", [3, -1, np.nan])
def test_labels_on_the_host_are_refused_before_anything_is_launched(
    kind: str, bad: float, host_runtime: HostRuntime
) -> None:
    ops = cuda_ops(host_runtime)
    run = loss_of(kind, ops, [0, 1, bad, 7])
    before = host_runtime.steps
    message = rf"label of sample 2 of the batch: expected 0 to 2.*, got {bad:g}"
    with pytest.raises(LabelError, match=message):
        run.layer.forward(run.bottom, run.top)
    assert ops.runtime.steps == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bad", [3, -1, np.nan])
def test_labels_on_the_device_are_told_to_the_watch_and_count_for_nothing(
    kind: str, bad: float, cuda_runtime: CudaRuntime
) -> None:
    ops = cuda_ops(cuda_runtime)
    run = loss_of(kind, ops, [0, 1, bad, 2])
    label = run.bottom[1].data
    label.modify(ops.layout)
    assert not label.on_host
    run.layer.forward(run.bottom, run.top)
    assert np.isfinite(run.top[0].data.content())
    message = rf"label of sample 2 of the batch: expected 0 to 2.*, got {bad:g}"
    with pytest.raises(LabelError, match=message) as caught:
        ops.watch.check()
    assert caught.value.labels is label


def test_good_labels_on_the_device_pass(cuda_runtime: CudaRuntime) -> None:
    ops = cuda_ops(cuda_runtime)
    run = loss_of("SoftmaxWithLoss, ignoring", ops, [0, 2.9, 9, -0.5])
    run.bottom[1].data.modify(ops.layout)
    run.layer.forward(run.bottom, run.top)
    ops.watch.check()


def test_a_label_of_a_net_that_is_gone_is_refused_still(cuda_runtime: CudaRuntime) -> None:
    ops = cuda_ops(cuda_runtime)
    net = make_net(NET % (MADE, "made"), ops)
    run(net, [0, 0, 3, 0])
    del net
    gc.collect()
    with pytest.raises(LabelError, match="label of sample 2 of the batch: expected 0 to 2, got 3"):
        ops.watch.check()


def test_a_launch_of_a_graph_is_refused_too(cuda_runtime: CudaRuntime) -> None:
    net = make_net(NET % ("", "label"), cuda_ops(cuda_runtime))
    for _ in range(4):
        run(net, [0, 1, 2, 0])
    losses = run(net, [0, 1, 2, 0]), run(net, [2, 1, 0, 0])
    assert losses[0] != losses[1]
    with pytest.raises(LabelError, match="sample 3 of the batch: expected 0 to 2, got 5"):
        run(net, [0, 0, 0, 5])
    assert run(net, [0, 1, 2, 0]) == losses[0]


def test_the_watch_looks_on_after_it_told_of_a_label(cuda_runtime: CudaRuntime) -> None:
    ops = cuda_ops(cuda_runtime)
    net = make_net(NET % (MADE, "made"), ops)
    for labels in ([0, 1, 2, 0],) * 4:
        run(net, labels)
    for bad in (4, 5):
        run(net, [0, bad, 2, 0])
        with pytest.raises(LabelError, match=f"sample 1 of the batch: expected 0 to 2, got {bad}"):
            ops.watch.check()
        run(net, [0, 1, 2, 0])
        ops.watch.check()


def run(net: Net, labels: list[int]) -> float:
    """The loss after a pass forward and back, after which nobody looks at the watch."""
    net.blobs["x"].data.write()[...] = np.arange(12).reshape(4, 3) ** 2 % 7
    net.blobs["label"].data.write()[...] = labels
    net.forward(look=False)
    net.backward()
    return float(net.blobs["loss"].data.content())
