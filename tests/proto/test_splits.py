"""Split layers, against the nets that Caffe constructed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import text
from caffepy.proto.errors import PrototxtError
from caffepy.proto.filter import filter_net
from caffepy.proto.splits import insert_splits
from caffepy.proto.upgrade import upgrade_net

NETS = sorted(path.name for path in (Path(__file__).parents[1] / "golden" / "nets").iterdir())
AUTOMATIC = "(automatic)"  # tops that the net makes up for losses; not named in the prototxt


@pytest.mark.parametrize("name", NETS)
def test_layers_are_those_that_caffe_made(golden, name):
    folder = golden / "nets" / name
    net = upgrade_net(text.read(folder / "net.prototxt", pb.NetParameter))
    states = json.loads((folder / "shapes.json").read_text())["states"]
    assert states
    for state in states:
        phase = pb.Phase.Value(state["phase"])
        asked = pb.NetState(phase=phase, level=state["level"], stage=state["stages"])
        split = insert_splits(filter_net(net, asked))
        found = [(x.name, x.type, list(x.bottom), list(x.top)) for x in split.layer]
        assert found == [
            (x["name"], x["type"], x["bottom"], [top for top in x["top"] if top != AUTOMATIC])
            for x in state["layers"]
        ]


def parsed(source: str) -> pb.NetParameter:
    return text.parse(source, pb.NetParameter, "net.prototxt")


def test_a_net_without_shared_blobs_stays_as_it_is():
    net = parsed('layer { name: "a" top: "x" } layer { name: "b" bottom: "x" top: "y" }')
    assert insert_splits(net) == net


def test_the_last_layer_that_wrote_a_blob_in_place_is_the_one_that_is_split():
    split = insert_splits(
        parsed(
            'layer { name: "in" top: "x" } layer { name: "relu" bottom: "x" top: "x" }'
            'layer { name: "p" bottom: "x" top: "y" } layer { name: "q" bottom: "x" top: "z" }'
        )
    )
    assert [layer.name for layer in split.layer] == ["in", "relu", "x_relu_0_split", "p", "q"]
    assert [layer.bottom[0] for layer in split.layer[2:]] == [
        "x",
        "x_relu_0_split_0",
        "x_relu_0_split_1",
    ]


def test_a_loss_weight_moves_to_the_first_top_of_the_split():
    net = parsed(
        'layer { name: "l" top: "x" loss_weight: 0.5 } layer { name: "p" bottom: "x" top: "y" }'
    )
    before = net.SerializeToString()
    split = insert_splits(net)
    assert not split.layer[0].loss_weight
    assert list(split.layer[1].loss_weight) == [0.5, 0]
    assert list(split.layer[2].bottom) == ["x_l_0_split_1"]
    assert net.SerializeToString() == before


def test_a_split_layer_stands_where_its_source_stands():
    net = parsed('\nlayer { name: "a" top: "x" }\nlayer { name: "b" bottom: "x" bottom: "x" }')
    assert insert_splits(net).layer[1].source_line == 2


def test_an_unknown_bottom_is_refused_with_layer_line_and_nearest_blob():
    net = parsed(
        'layer { name: "a" type: "Input" top: "data" }\n'
        'layer { name: "relu" type: "ReLU" bottom: "dta" }'
    )
    with pytest.raises(PrototxtError) as error:
        insert_splits(net)
    assert str(error.value) == (
        "net.prototxt:2: layer 'relu' (ReLU): bottom 'dta' is made by no layer before this one."
        " Did you mean 'data'?"
    )


def test_a_bottom_whose_layer_is_left_out_by_its_rules_is_refused_with_that_layer():
    net = parsed(
        'layer { name: "train" type: "Data" top: "data" include { phase: TRAIN } }\n'
        'layer { name: "relu" type: "ReLU" bottom: "data" top: "data" }'
    )
    with pytest.raises(PrototxtError) as error:
        insert_splits(filter_net(net, pb.NetState(phase="TEST")), net.layer)
    assert str(error.value) == (
        "net.prototxt:2: layer 'relu' (ReLU): bottom 'data' is made by no layer before this one."
        " Layer 'train' makes it, but its include or exclude rules leave it out in phase TEST."
        " Correct them, or the phase, level or stages that the net is for."
    )
