"""Net: what passes leave behind for the next ones, and passes that make no sense."""

from __future__ import annotations

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.errors import LabelError, NetError
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from tests.nets import make_net

HEAD = """
force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
DOUBLED = """
layer { name: "double" type: "Power" bottom: "ip" top: "ip" power_param { scale: 2 } %s }
"""
FLAT = """
layer { name: "flat" type: "Flatten" bottom: "ip" top: "flat" loss_weight: 0.5 }
"""


def filled_net(layers: str, ops: Ops | None = None) -> Net:
    net = make_net(HEAD + layers, ops)
    net.blobs["data"].data.write()[...] = [[1, 2, 3], [4, 5, 6]]
    return net


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param(DOUBLED % "loss_weight: 0.5", id="in place"),
        pytest.param(DOUBLED % "" + FLAT, id="view of a blob changed in place"),
    ],
)
def test_a_loss_weight_outlives_a_backward_pass_over_its_diff(layers: str, ops: Ops) -> None:
    net = filled_net(layers, ops)
    for _ in range(3):
        net.parameters.clear_diffs()
        net.forward_backward()
        bias = net.parameters.learnable[1].blob
        np.testing.assert_array_equal(bias.diff.read(), [2, 2, 2])  # 0.5 * 2 for each sample


def test_a_diff_that_python_gave_a_loss_is_kept() -> None:
    net = filled_net(DOUBLED.replace('top: "ip"', 'top: "top"') % "loss_weight: 0.5")
    for given in (3, 5):
        net.parameters.clear_diffs()
        net.forward()
        net.blobs["top"].diff.write()[...] = given
        net.backward()
        bias = net.parameters.learnable[1].blob
        np.testing.assert_array_equal(bias.diff.read(), [4 * given] * 3)


def test_backward_needs_a_forward_pass_through_its_layers() -> None:
    net = filled_net(DOUBLED % "loss_weight: 1")
    with pytest.raises(NetError, match=r"'double' \(Power\): backward: expected a forward pass"):
        net.backward()
    net.forward(end=1)
    net.backward(start=1)
    with pytest.raises(NetError, match="'double'"):
        net.backward()
    net.forward(start=2)
    net.backward()


@pytest.mark.parametrize(("start", "end"), [(0, 3), (-1, 2), (5, 2), (0, -2)])
def test_a_pass_over_layers_that_do_not_exist_is_refused(start: int, end: int) -> None:
    net = filled_net(DOUBLED % "loss_weight: 1")
    with pytest.raises(NetError, match="forward: expected indices of the net's 3 layers"):
        net.forward(start, end)
    net.forward()
    with pytest.raises(NetError, match="backward: expected indices of the net's 3 layers"):
        net.backward(end, start)


def test_a_first_pass_that_failed_counts_as_none(ops: Ops) -> None:
    net = make_net(
        """layer { name: "in" type: "Input" top: "x" top: "label" input_param {
          shape { dim: 2 dim: 3 dim: 4 dim: 4 } shape { dim: 2 } } }
        layer { name: "norm" type: "BatchNorm" bottom: "x" top: "norm" }
        layer { name: "ip" type: "InnerProduct" bottom: "norm" top: "ip"
          inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
        force_backward: true""",
        ops,
    )
    net.blobs["label"].data.write()[...] = 7
    with pytest.raises(LabelError):
        net.forward()
    with pytest.raises(NetError, match="Run forward first"):
        net.backward()
    net.blobs["label"].data.write()[...] = 2
    net.forward_backward()
