"""Warnings of gradients that are wrong because of layers that work in place."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.net import Net
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.nets import make_net

READERS = {
    "Sigmoid": "",
    "TanH": "",
    "Softmax": "",
    "Exp": "",
    "MVN": "",
    "MVN without variance": "mvn_param { normalize_variance: false }",
    "ReLU": "",
    "ReLU in place": "",
    "ReLU of slope 0.1 in place": "relu_param { negative_slope: 0.1 }",
    "ReLU of slope -0.1 in place": "relu_param { negative_slope: -0.1 }",
    "Eltwise": "eltwise_param { operation: PROD }",
    "Eltwise that divides": "eltwise_param { operation: PROD stable_prod_grad: false }",
}
CHANGERS = {
    "ReLU": "",
    "Dropout": "",
    "TanH": "",
    "Sigmoid": "",
    "BatchNorm": "",
    "Scale": "scale_param { filler { value: 2 } }",
    "Scale with bias": "scale_param { bias_term: true bias_filler { value: -0.3 } }",
    "Bias": "bias_param { filler { value: -0.3 } }",
    "ReLU leaky": "relu_param { negative_slope: 0.1 }",
    "ReLU of slope 1": "relu_param { negative_slope: 1 }",
    "ELU": "",
    "PReLU": "",
    "BNLL": "",
    "Swish": "",
    "Exp": "",
    "Log": "log_param { shift: 30 }",
    "MVN": "mvn_param { across_channels: true }",
    "Softmax": "",
    "Power": "",
    "Power of 2": "power_param { power: 2 }",
    "Power of 3": "power_param { power: 3 }",
    "Power with shift": "power_param { shift: -0.3 }",
    "Power of constant value": "power_param { scale: 0 shift: 2 }",
}

DIMS = "dim: 2 dim: 3 dim: 4"


def gradient(reader: str, changer: str, in_place: bool) -> np.ndarray:
    """Of the net's data, after one pass on fixed numbers."""
    kind = reader.partition(" ")[0]
    changing = changer.partition(" ")[0]
    inside = "in place" in reader
    second = 'bottom: "s"' if kind == "Eltwise" else ""
    below = "x" if inside else "y"
    above = "y" if in_place else "z"
    if inside:
        below, above = "x", ("x" if in_place else "z")
    text = f"""force_backward: true
    layer {{ name: "in" type: "Input" top: "x" top: "s"
      input_param {{ shape {{ {DIMS} }} }} }}
    layer {{ name: "reader" type: "{kind}" bottom: "x" {second} top: "{below}"
      {READERS[reader]} }}
    layer {{ name: "changer" type: "{changing}" bottom: "{below}" top: "{above}"
      {CHANGERS[changer]} }}
    layer {{ name: "weights" type: "Parameter" top: "w"
      parameter_param {{ shape {{ {DIMS} }} }} }}
    layer {{ name: "loss" type: "EuclideanLoss" bottom: "{above}" bottom: "w" top: "loss" }}"""
    net = make_net(text, NumpyOps(np.float64), seed=1)
    random = np.random.default_rng(2)
    for name in ("x", "s", "w"):
        net.blobs[name].data.write()[...] = random.standard_normal((2, 3, 4))
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
        kind = reader.partition(" ")[0]
        name = "x" if "in place" in reader else "y"
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
        make_net(text)
    assert not caplog.messages


def net_with_a_changed_view(above: str, before: str = "", after: str = "", rest: str = "") -> Net:
    """Makes a net whose blob x goes through a Reshape to v, which `above` changes in place, and to
    layers before and after that; `rest` are fields of the layer that makes x."""
    text = f"""layer {{ name: "w" type: "Parameter" top: "x" {rest} parameter_param {{
      shape {{ {DIMS} }} blob_filler {{ value: -2 }} }} }}
    {before}
    layer {{ name: "view" type: "Reshape" bottom: "x" top: "v"
      reshape_param {{ shape {{ dim: -1 }} }} }}
    layer {{ name: "changer" type: "ReLU" bottom: "v" top: "{above}" }}
    {after}
    layer {{ name: "sum" type: "Reduction" bottom: "{above}" top: "sum" loss_weight: 1 }}"""
    return make_net(text)


OTHER = 'layer { name: "other" type: "TanH" bottom: "x" top: "o" loss_weight: 1 }'
AGAIN = 'layer { name: "again" type: "Flatten" bottom: "v" top: "f" flatten_param { axis: 0 } }'


def test_readers_of_a_view_that_is_changed_in_place_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "caffepy"):
        net_with_a_changed_view("v", after=OTHER)
        net_with_a_changed_view("v", before=OTHER)
    later, earlier = caplog.messages
    for message in caplog.messages:
        assert "layer 'other' (TanH): bottom 'x_w_0_split_" in message
        assert "layer 'changer' (ReLU) changes 'v', the same memory, in place" in message
    assert "it reads the changed numbers, as in Caffe. Give layer 'changer' a top" in later
    assert "its gradient may be wrong, as in Caffe" in earlier


def test_a_layer_that_changes_in_place_what_it_reads_twice_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    both = """layer { name: "fork" type: "Split" bottom: "x" top: "a" top: "b" }
    layer { name: "square" type: "Scale" bottom: "a" bottom: "b" top: "a"
      scale_param { axis: 0 } loss_weight: 1 }"""
    with caplog.at_level(logging.WARNING, "caffepy"):
        net_with_a_changed_view("z", before=both)
    message = caplog.messages[0]
    assert "layer 'square' (Scale): bottom 'b': expected it unchanged" in message


@pytest.mark.parametrize(
    ("above", "before", "after"),
    [
        ("v", "", ""),
        ("z", OTHER, ""),
        ("z", "", OTHER),
        ("v", 'layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }', ""),
        ("v", "", AGAIN),
    ],
)
def test_a_view_that_nobody_else_reads_may_be_changed(
    above: str, before: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "caffepy"):
        net_with_a_changed_view(above, before, after)
    assert not caplog.messages


def test_a_loss_is_that_before_a_view_of_it_is_changed_in_place() -> None:
    net = net_with_a_changed_view("v", rest="loss_weight: 0.5")
    for _ in ("recorded", "replayed"):
        net.blobs["x"].data.write()[...] = -2
        net.forward()
        assert net.loss.read() == 0.5 * -2 * 24 + 0
