"""Include and exclude rules."""

from __future__ import annotations

import pytest

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import text
from caffepy.proto.errors import PrototxtError
from caffepy.proto.filter import filter_net

TEST, TRAIN = pb.TEST, pb.TRAIN


@pytest.mark.parametrize(
    ("rules", "state", "stays"),
    [
        ("", {"phase": TRAIN}, True),
        ("include { phase: TRAIN }", {"phase": TRAIN}, True),
        ("include { phase: TRAIN }", {"phase": TEST}, False),
        ("include { phase: TRAIN } include { phase: TEST }", {"phase": TEST}, True),
        ("include { }", {"phase": TEST}, True),
        ("exclude { }", {"phase": TEST}, False),
        ("exclude { phase: TEST }", {"phase": TEST}, False),
        ("exclude { phase: TEST }", {"phase": TRAIN}, True),
        ("include { min_level: 2 }", {"level": 1}, False),
        ("include { min_level: 2 }", {"level": 2}, True),
        ("include { max_level: 2 }", {"level": 3}, False),
        ("include { max_level: 2 }", {"level": 2}, True),
        ("include { min_level: 1 max_level: 2 }", {"level": 0}, False),
        ('include { stage: "a" stage: "b" }', {"stage": ["a"]}, False),
        ('include { stage: "a" stage: "b" }', {"stage": ["b", "c", "a"]}, True),
        ('include { not_stage: "a" not_stage: "b" }', {"stage": ["b"]}, False),
        ('include { not_stage: "a" }', {"stage": ["c"]}, True),
        ('include { phase: TRAIN stage: "a" }', {"phase": TEST, "stage": ["a"]}, False),
    ],
)
def test_a_layer_stays_where_its_rules_say_so(rules, state, stays):
    net = text.parse(f'layer {{ name: "x" type: "ReLU" {rules} }}', pb.NetParameter)
    before = net.SerializeToString()
    filtered = filter_net(net, pb.NetState(**state))
    assert len(filtered.layer) == stays
    assert filtered.state == pb.NetState(**state)
    assert net.SerializeToString() == before


def test_everything_but_layers_stays():
    net = text.parse('name: "n" force_backward: true', pb.NetParameter)
    filtered = filter_net(net, pb.NetState(phase=TEST))
    assert (filtered.name, filtered.force_backward) == ("n", True)


def test_both_kinds_of_rules_in_a_layer_are_refused_with_its_name_and_line():
    net = text.parse(
        '\nlayer { name: "x" type: "ReLU" include { phase: TEST } exclude { min_level: 1 } }',
        pb.NetParameter,
        "net.prototxt",
    )
    with pytest.raises(PrototxtError) as error:
        filter_net(net, pb.NetState())
    assert str(error.value) == (
        "net.prototxt:2: layer 'x' (ReLU): expected either include or exclude rules, got both."
        " Say with one of them when the layer is used."
    )
