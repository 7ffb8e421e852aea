"""Memory that ops on a GPU use in turn."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.cuda.workspace import Workspace
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.nets import make_net

NET = """
    layer { name: "in" type: "Input" top: "x"
      input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
    layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param {
      num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
    layer { name: "lrn" type: "LRN" bottom: "conv" top: "lrn" lrn_param { local_size: 7 } }
    layer { name: "deep" type: "Convolution" bottom: "lrn" top: "deep" convolution_param {
      num_output: 4 group: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
    layer { name: "pool" type: "Pooling" bottom: "deep" top: "pool"
      pooling_param { kernel_size: 3 stride: 2 } }
    layer { name: "relu" type: "ReLU" bottom: "pool" top: "pool" }
    layer { name: "drawn" type: "Pooling" bottom: "pool" top: "drawn"
      pooling_param { pool: STOCHASTIC kernel_size: 2 } }
    layer { name: "ip" type: "InnerProduct" bottom: "drawn" top: "ip" inner_product_param {
      num_output: 5 weight_filler { type: "xavier" } } }
    force_backward: true
"""


def test_ops_share_what_the_largest_needs() -> None:
    workspace = Workspace(np.float32)
    workspace.reserve("first", 5)
    workspace.reserve("first", 3)
    workspace.reserve("second", 1)
    first = workspace.take("first")
    assert first.count == 5
    assert workspace.take("first") is first
    assert workspace.take("second").count == 1


def test_values_that_are_too_small_stay_for_recorded_work() -> None:
    workspace = Workspace(np.float64)
    counts = []
    for need in (10, 11, 20, 50):
        workspace.reserve("first", need)
        counts.append(workspace.take("first").count)
    assert counts == [10, 20, 20, 50]
    assert sum(value.count for value in workspace._values["first"]) <= 2 * 50


def test_graphs_keep_what_they_work_in_when_others_need_more(cuda_runtime: CudaRuntime) -> None:
    ops = CudaOps(cuda_runtime, np.float64)
    net, reference = make_net(NET, ops), make_net(NET, NumpyOps(np.float64))
    random = np.random.default_rng(0)
    for number in range(6):
        x, dy = random.standard_normal((2, 3, 9, 9)), random.standard_normal((2, 5))
        for one in (net, reference):
            one.blobs["x"].data.write()[...] = x
            one.forward()
            one.blobs["ip"].diff.write()[...] = dy
            one.backward()
        for name in net.blobs:
            for kind in ("data", "diff"):
                np.testing.assert_allclose(
                    getattr(net.blobs[name], kind).read(),
                    getattr(reference.blobs[name], kind).read(),
                    1e-9,
                    1e-11,
                    err_msg=f"{name}.{kind} in pass {number}",
                )
        learnable = net.parameters.learnable, reference.parameters.learnable
        for ours, theirs in zip(*learnable, strict=True):
            np.testing.assert_allclose(
                ours.blob.diff.read(), theirs.blob.diff.read(), 1e-9, 1e-11, err_msg=ours.name
            )
        if number == 3:
            _convolve(ops, ConvolutionGeometry((3, 5, 17, 17), 7, *((n, n) for n in (5, 1, 0, 1))))


def _convolve(ops: CudaOps, geometry: ConvolutionGeometry) -> None:
    """Runs an op that takes more of the workspace than the net."""
    before = ops.workspace.take("first")
    shapes = geometry.shape, geometry.weight_shape, geometry.out_shape
    x, w, y = (Value(shape, np.float64) for shape in shapes)
    ops.convolution(geometry).forward(x, w, None, out=y)
    assert ops.workspace.take("first") is not before
