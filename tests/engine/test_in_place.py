"""Warnings of gradients that are wrong because of layers that work in place."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from google.protobuf import text_format

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto.caffe_pb2 import TRAIN, NetParameter, NetState

READERS = ("Sigmoid", "TanH", "Softmax", "ReLU", "ReLU in place")
CHANGERS = {
    "ReLU": "",
    "Dropout": "",
    "TanH": "",
    "Sigmoid": "",
    "BatchNorm": "",
    "Scale": "scale_param { filler { value: 2 } }",
    "Scale with bias": "scale_param { bias_term: true bias_filler { value: -0.3 } }",
    "Bias": "bias_param { filler { value: -0.3 } }",
}


def gradient(reader: str, changer: str, in_place: bool) -> np.ndarray:
    """Of the net's data, after one pass on fixed numbers."""
    kind, _, inside = reader.partition(" ")
    changing = changer.partition(" ")[0]
    below = "x" if inside else "y"
    above = "y" if in_place else "z"
    if inside:
        below, above = "x", ("x" if in_place else "z")
    text = f"""force_backward: true
    layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 4 dim: 6 }} }} }}
    layer {{ name: "reader" type: "{kind}" bottom: "x" top: "{below}" }}
    layer {{ name: "changer" type: "{changing}" bottom: "{below}" top: "{above}"
      {CHANGERS[changer]} }}
    layer {{ name: "weights" type: "Parameter" top: "w"
      parameter_param {{ shape {{ dim: 4 dim: 6 }} }} }}
    layer {{ name: "loss" type: "EuclideanLoss" bottom: "{above}" bottom: "w" top: "loss" }}"""
    net = Net(
        text_format.Parse(text, NetParameter()),
        NetState(phase=TRAIN),
        ops=NumpyOps(np.float64),
        registry=LAYERS,
        seed=1,
    )
    random = np.random.default_rng(2)
    net.blobs["x"].data.write()[...] = random.standard_normal((4, 6))
    net.blobs["w"].data.write()[...] = random.standard_normal((4, 6))
    net.forward_backward()
    return net.blobs["x"].diff.read().copy()


@pytest.mark.parametrize(("reader", "changer"), list(itertools.product(READERS, CHANGERS)))
def test_a_warning_comes_exactly_where_the_gradient_is_wrong(
    reader: str, changer: str, caplog: pytest.LogCaptureFixture
) -> None:
    right = gradient(reader, changer, False)
    assert "the gradient is wrong" not in caplog.text
    with caplog.at_level(logging.WARNING, "caffepy"):
        found = gradient(reader, changer, True)
    wrong = not np.allclose(found, right, rtol=1e-9, atol=1e-12)
    assert ("the gradient is wrong" in caplog.text) == wrong
    if wrong:
        kind, _, inside = reader.partition(" ")
        name = "x" if inside else "y"
        assert f"layer 'reader' ({kind}): top '{name}': expected it" in caplog.text
        assert "Give layer 'changer' a top of another name." in caplog.text


def test_the_usual_chains_cause_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    text = """layer { name: "in" type: "Input" top: "x" top: "label"
      input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } shape { dim: 2 } } }
    layer { name: "conv" type: "Convolution" bottom: "x" top: "c"
      convolution_param { num_output: 2 kernel_size: 3 } }
    layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
    layer { name: "scale" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
    layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
    layer { name: "drop" type: "Dropout" bottom: "c" top: "c" }
    layer { name: "ip" type: "InnerProduct" bottom: "c" top: "ip"
      inner_product_param { num_output: 3 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "l" }"""
    with caplog.at_level(logging.WARNING, "caffepy"):
        Net(
            text_format.Parse(text, NetParameter()),
            NetState(phase=TRAIN),
            ops=NumpyOps(),
            registry=LAYERS,
        )
    assert not caplog.messages
