"""Gradients of whole nets on oneDNN, fused and replayed, against numpy's in float64.

A ReLU gets numbers above 0 only: what lies at its kink may fall to either side.
"""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.conftest import onednn_ops
from tests.nets import make_net

TOLERANCE = 1e-4  # of the largest gradient of a blob: float32's rounding, through some layers
LEAST = 0.05  # taken as the largest where all are 0 but for rounding: of biases under a BatchNorm
# (2e-6 was seen, with AVX2)
XAVIER = 'weight_filler { type: "xavier" }'
SHAPE = 4, 6, 13, 11
DATA = f"""force_backward: true
layer {{ name: "in" type: "Input" top: "x" top: "label" input_param {{
  shape {{ {" ".join(f"dim: {size}" for size in SHAPE)} }} shape {{ dim: 4 }} }} }}
"""
END = f"""
layer {{ name: "ip" type: "InnerProduct" bottom: "y" top: "ip"
  inner_product_param {{ num_output: 5 {XAVIER} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""


def layer(kind: str, bottoms: str, top: str, block: str = "") -> str:
    named = " ".join(f'bottom: "{name}"' for name in bottoms.split())
    return f'layer {{ name: "{kind}_{top}" type: "{kind}" {named} top: "{top}" {block} }}\n'


def convolution(bottom: str, top: str, fields: str, kind: str = "Convolution") -> str:
    return layer(kind, bottom, top, f"convolution_param {{ {fields} {XAVIER} }}")


def normalised(blob: str, bias: float = 0) -> str:
    """BatchNorm and Scale in place; a bias of 6 leaves nothing below 0."""
    scale = f'scale_param {{ bias_term: true bias_filler {{ type: "constant" value: {bias} }} }}'
    return layer("BatchNorm", blob, blob) + layer("Scale", blob, blob, scale)


FIRST = convolution("x", "a", "num_output: 16 kernel_size: 3 pad: 1")
NETS = {
    "groups": FIRST
    + layer("TanH", "a", "a")
    + convolution("a", "b", "num_output: 32 kernel_size: 3 group: 2")
    + convolution("b", "c", "num_output: 32 kernel_size: 3 group: 32 pad: 1 bias_term: false")
    + convolution("c", "y", "num_output: 8 kernel_size: 1 group: 4"),
    "dilation and strides": FIRST
    + layer("Sigmoid", "a", "a")
    + convolution("a", "b", "num_output: 20 kernel_size: 3 dilation: 2 pad: 2")
    + convolution(
        "b", "y", "num_output: 8 kernel_h: 5 kernel_w: 3 stride_h: 3 stride_w: 1 pad_w: 1"
    ),
    "normalised, with ReLU": FIRST
    + normalised("a", 6)
    + layer("ReLU", "a", "a")
    + convolution("a", "y", "num_output: 24 kernel_size: 3 bias_term: false")
    + normalised("y"),
    "residual": FIRST
    + normalised("a", 6)
    + convolution("a", "b", "num_output: 16 kernel_size: 3 pad: 1 bias_term: false")
    + normalised("b", 6)
    + layer("ReLU", "b", "b")
    + convolution("b", "c", "num_output: 16 kernel_size: 1")
    + normalised("c", 6)
    + layer("Eltwise", "c a", "sum")
    + layer("ReLU", "sum", "sum")
    + convolution("sum", "y", "num_output: 8 kernel_size: 3 stride: 2"),
    "branches": FIRST
    + convolution("a", "b", "num_output: 7 kernel_size: 1")
    + convolution("a", "c", "num_output: 16 kernel_size: 3 pad: 1")
    + layer("Pooling", "a", "d", "pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 }")
    + layer("Concat", "b c d", "y"),
    "LRN": FIRST
    + layer("LRN", "a", "b", "lrn_param { local_size: 5 alpha: 0.5 }")
    + layer("Pooling", "b", "c", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    + layer("LRN", "c", "y", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 0.5 }"),
    "pooling with ceil windows": FIRST
    + layer("Pooling", "a", "b", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }")
    + layer("TanH", "b", "b")
    + layer("Pooling", "b", "y", "pooling_param { pool: AVE global_pooling: true }"),
    "deconvolution": FIRST
    + layer("ELU", "a", "a")
    + convolution("a", "b", "num_output: 8 kernel_size: 4 stride: 2 pad: 1", "Deconvolution")
    + convolution("b", "c", "num_output: 8 kernel_size: 8 stride: 4 group: 8", "Deconvolution")
    + layer("Swish", "c", "c")
    + convolution("c", "y", "num_output: 4 kernel_size: 5 stride: 4"),
    "parametric": FIRST
    + layer("Bias", "a", "b", 'bias_param { filler { type: "gaussian" } }')
    + layer("Power", "b", "c", "power_param { scale: 0.5 shift: 0.1 power: 2 }")
    + layer("Eltwise", "b c", "y", "eltwise_param { operation: PROD }"),
}


def gradients(body: str, ops: Ops) -> dict[str, np.ndarray]:
    """Of the input and all parameters, in a second pass, which replays the first one."""
    net = make_net(DATA + body + END, ops, seed=3)
    x = np.random.default_rng(0).standard_normal(SHAPE)
    for _ in range(2):
        net.blobs["x"].data.write()[...] = x
        net.blobs["label"].data.write()[...] = [0, 4, 2, 2]
        net.parameters.clear_diffs()
        net.forward_backward()
    return {"x": net.blobs["x"].diff.read(), **_of_parameters(net)}


def _of_parameters(net: Net) -> dict[str, np.ndarray]:
    return {
        f"{one.layer.name} {one.index}": one.blob.diff.read()
        for one in net.parameters.learnable
        if one.layer.type != "BatchNorm"
    }


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_float64(name: str) -> None:
    found = gradients(NETS[name], onednn_ops())
    for what, expected in gradients(NETS[name], NumpyOps(np.float64)).items():
        scale = max(np.abs(expected).max(), LEAST)
        np.testing.assert_allclose(found[what], expected, 0, TOLERANCE * scale, err_msg=what)
