"""A net trained on oneDNN: arena, weights in blocked layouts, updates, recorded programs."""

from __future__ import annotations

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.value import Value
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.library import available
from tests.nets import make_net

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

NET = """
layer { name: "input" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 4 dim: 3 dim: 12 dim: 12 } shape { dim: 4 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 20 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "pool1" top: "pool1" }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 24 kernel_size: 3 pad: 1 group: 2
    weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "conv2" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def train(ops: Ops, steps: int, keep_leased: bool = False) -> tuple[list[float], Net]:
    """Some steps of gradient descent with momentum; each runs forward and backward twice."""
    net = make_net(NET, ops, seed=3)
    random = np.random.default_rng(0)
    net.blobs["data"].data.write()[...] = random.standard_normal((4, 3, 12, 12))
    net.blobs["label"].data.write()[...] = [0, 1, 2, 3]
    blobs = [parameter.blob for parameter in net.parameters.learnable]
    leases = [blob.diff.lease() for blob in blobs] if keep_leased else []
    histories = [Value(blob.shape) for blob in blobs]
    update, losses = ops.sgd_update(), []
    for _ in range(steps):
        net.parameters.clear_diffs()
        for _ in range(2):
            net.forward_backward()
        losses.append(float(net.loss.read()))
        for blob, history in zip(blobs, histories, strict=True):
            update.update(
                blob.data, blob.diff, history,
                rate=0.005, momentum=0.9, scale=0.5, decay=0.001, keep_diff=keep_leased,
            )  # fmt: skip
    assert len(leases) == len(blobs) * keep_leased
    return losses, net


@pytest.mark.parametrize("leased", [False, True])
def test_training_equals_numpy(leased: bool) -> None:
    losses, net = train(OneDnnOps(), 6, leased)
    expected, reference = train(NumpyOps(), 6, leased)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for ours, theirs in zip(net.parameters.learnable, reference.parameters.learnable, strict=True):
        np.testing.assert_allclose(
            ours.blob.data.read(), theirs.blob.data.read(), rtol=1e-3, atol=1e-5
        )


@pytest.mark.usefixtures("wide_vectors")
def test_weights_and_activations_stay_in_the_layouts_of_the_library() -> None:
    _, net = train(OneDnnOps(), 2)
    assert net.blobs["conv1"].data.fresh_layout is not PLAIN
    weights = net.layers[1].blobs[0].data
    assert weights.fresh_layout is weights.home
    assert weights.home is not PLAIN


def test_training_is_the_same_in_every_run() -> None:
    first, net = train(OneDnnOps(), 4)
    second, other = train(OneDnnOps(), 4)
    assert first == second
    for ours, theirs in zip(net.parameters.learnable, other.parameters.learnable, strict=True):
        np.testing.assert_array_equal(ours.blob.data.read(), theirs.blob.data.read())
