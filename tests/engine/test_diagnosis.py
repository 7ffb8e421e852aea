"""Finding where nan and inf in a net began, without losing a batch or changing what it learnt."""

from __future__ import annotations

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine import diagnosis
from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.value import Value
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from tests.nets import make_net

IN = """layer { name: "in" type: "Input" top: "x" input_param { shape {
  dim: 4 dim: 3 dim: 5 dim: 5 } } }
"""
CONV = """layer { name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param {
  num_output: 6 kernel_size: 3 weight_filler { type: "gaussian" std: 1 } } }
"""
LOSS = """layer { name: "zero" type: "DummyData" top: "zero" dummy_data_param { shape {
  dim: 4 dim: 6 dim: 3 dim: 3 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "%s" bottom: "zero" top: "loss" }
"""


def in_place(name: str, kind: str, body: str = "", blob: str = "c") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{blob}" top: "{blob}" {body} }}\n'


def filled_net(text: str, ops: Ops | None = None) -> Net:
    net = make_net(text, ops, seed=1)
    x = np.random.default_rng(0).standard_normal((4, 3, 5, 5))
    net.blobs["x"].data.write()[...] = x
    return net


def found_in(net: Net) -> diagnosis.Finding:
    finding = diagnosis.find_in_forward(net, diagnosis.losses(net))
    assert finding is not None
    return finding


@pytest.mark.parametrize("layout", ["plain", "as the op left it"])
def test_a_census_counts_and_places(ops: Ops, layout: str) -> None:
    net = filled_net(IN + CONV, ops)
    net.forward()
    value = net.blobs["c"].data
    assert diagnosis.take_census(value) is None
    content = value.read().copy()
    content[1, 2, 0, 1] = np.nan
    content[3, 5, 2, 2] = -np.inf
    kept = PLAIN if layout == "plain" else value.fresh_layout
    if kept is PLAIN:
        value.write()[...] = content
    else:
        kept.load(content, value.write(kept))
    census = diagnosis.take_census(value)
    assert str(census) == "1 nan and 1 inf among 216, the first at (1, 2, 0, 1)"


def test_large_numbers_and_values_never_written_are_finite() -> None:
    value = Value((3,))
    assert diagnosis.is_finite(value)
    value.write()[...] = np.finfo(np.float32).max
    assert diagnosis.is_finite(value)
    scalar = Value(())
    scalar.write()[...] = np.inf
    assert str(diagnosis.take_census(scalar)) == "inf"


ROOT = in_place("root", "Power", "power_param { shift: -50 power: 0.5 }")
DROP = in_place("drop", "Dropout")
NORM = in_place("norm", "BatchNorm")
TWICE = in_place("twice", "Power", "power_param { scale: 2 }")


@pytest.mark.parametrize(
    ("between", "name"),
    [
        (ROOT, "root"),
        (DROP + ROOT + TWICE, "root"),
        (NORM + DROP + TWICE + ROOT, "root"),
        (TWICE + in_place("relu", "ReLU") + DROP + ROOT + NORM, "root"),
    ],
)
def test_the_layer_among_those_in_place_is_found(ops: Ops, between: str, name: str) -> None:
    net = filled_net(IN + CONV + between + LOSS % "c", ops)
    net.forward()
    finding = found_in(net)
    assert (finding.layer.name, finding.what) == (name, "top 'c'")
    assert not finding.helpers


def test_looking_changes_nothing(ops: Ops) -> None:
    nets = [filled_net(IN + CONV + NORM + DROP + ROOT + LOSS % "c", ops) for _ in range(2)]
    for net in nets:
        net.forward()
    found_in(nets[0])
    for _ in range(2):
        for one, other in zip(nets[0].layers, nets[1].layers, strict=True):
            for blob, expected in zip(one.blobs, other.blobs, strict=True):
                np.testing.assert_array_equal(blob.data.read(), expected.data.read())
        for name, blob in nets[0].blobs.items():
            np.testing.assert_array_equal(blob.data.read(), nets[1].blobs[name].data.read())
        for net in nets:  # and the next pass draws the same numbers
            net.forward()


def test_a_view_changed_in_place_does_not_put_the_blame_on_the_layer_below(ops: Ops) -> None:
    flat = 'layer { name: "flat" type: "Flatten" bottom: "c" top: "f" }\n'
    root = in_place("root", "Power", "power_param { shift: -50 power: 0.5 }", "f")
    loss = LOSS.replace("dim: 4 dim: 6 dim: 3 dim: 3", "dim: 4 dim: 54") % "f"
    net = filled_net(IN + CONV + flat + root + loss, ops)
    net.forward()
    assert found_in(net).layer.name == "root"


def test_a_bad_parameter_is_named_rather_than_the_top_it_spoils(ops: Ops) -> None:
    net = filled_net(IN + CONV + TWICE + LOSS % "c", ops)
    net.layers[1].blobs[1].data.modify()[3] = np.inf
    net.forward()
    finding = found_in(net)
    assert (finding.layer.name, finding.what, finding.parameter) == ("conv", "parameter 1", 1)
    assert str(finding.census) == "1 inf among 6, the first at 3"


def test_a_bad_input_that_was_changed_in_place_names_both() -> None:
    net = filled_net(IN + in_place("twice", "Power", "power_param { scale: 2 }", "x") + CONV
                   + LOSS % "c")  # fmt: skip
    net.blobs["x"].data.modify()[2, 0, 0, 0] = np.nan
    net.forward()
    finding = found_in(net)
    assert (finding.layer.name, finding.is_input) == ("in", True)
    assert [layer.name for layer in finding.helpers] == ["twice"]


def test_only_what_leads_to_the_results_counts() -> None:
    root = 'layer { name: "root" type: "Power" bottom: "c" top: "r" power_param { shift: -50 ' \
        "power: 0.5 } }\n"  # fmt: skip
    net = filled_net(IN + CONV + root + LOSS % "c")
    net.forward()
    assert diagnosis.find_in_forward(net, diagnosis.losses(net)) is None
    finding = diagnosis.find_in_forward(net, [net.blobs["r"]])
    assert finding is not None
    assert finding.layer.name == "root"


def test_the_first_bad_gradient_in_backward_order_is_found(ops: Ops) -> None:
    relu = in_place("relu", "ReLU")
    root = 'layer { name: "root" type: "Power" bottom: "c" top: "r" power_param { power: 0.5 } }\n'
    net = filled_net(IN + CONV + relu + root + LOSS % "r", ops)
    net.forward()
    assert np.isfinite(net.loss.read())
    net.backward()
    finding = diagnosis.find_in_backward(net)
    assert finding is not None
    assert (finding.layer.name, finding.what) == ("root", "gradient of bottom 'c'")
    assert [layer.name for layer in finding.helpers] == ["relu"]


def test_a_bad_gradient_of_a_parameter_is_found(ops: Ops) -> None:
    net = filled_net(IN + CONV + LOSS % "c", ops)
    net.forward_backward()
    assert diagnosis.find_in_backward(net) is None
    net.layers[1].blobs[0].diff.modify()[0, 1, 2, 0] = np.nan
    finding = diagnosis.find_in_backward(net)
    assert finding is not None
    assert finding.what == "gradient of parameter 0"
    assert finding.largest > 0


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
def test_a_layer_that_remembers_is_not_run_once_more(kind: str) -> None:
    net = filled_net(
        f"""{IN} layer {{ name: "cont" type: "DummyData" top: "cont" dummy_data_param {{
          shape {{ dim: 4 dim: 3 }} data_filler {{ value: 1 }} }} }}
        layer {{ name: "memory" type: "{kind}" bottom: "x" bottom: "cont" top: "c"
          recurrent_param {{ num_output: 2 weight_filler {{ type: "gaussian" }} }} }}
        {in_place("log", "Log")}
        layer {{ name: "sum" type: "Reduction" bottom: "c" top: "loss" loss_weight: 1 }}"""
    )
    net.forward()
    memory = next(layer for layer in net.layers if layer.name == "memory")
    before, left = memory.state(), net.blobs["c"].data.read().copy()
    finding = found_in(net)
    assert (finding.layer.name, [layer.name for layer in finding.helpers]) == ("memory", ["log"])
    np.testing.assert_equal(memory.state(), before)
    np.testing.assert_array_equal(net.blobs["c"].data.read(), left)
