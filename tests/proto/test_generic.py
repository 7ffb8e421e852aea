"""Blocks that the schema does not know, as values for layers from outside the tree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import generic, text
from caffepy.proto.errors import PrototxtError


def values(block: str) -> dict[str, object]:
    source = f'layer {{ name: "s" type: "Sin" sin_param {{{block}}} }}'
    return generic.values(text.parse(source, pb.NetParameter, "n.prototxt").layer[0], "sin_param")


def test_a_layer_without_the_block_has_no_values():
    assert generic.values(pb.LayerParameter(), "sin_param") == {}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("", {}),
        ("a: 2 b: -1.5, c: 1e3; d: 0x10", {"a": 2, "b": -1.5, "c": 1000.0, "d": 16}),
        ("a: true b: false c: MAX", {"a": True, "b": False, "c": "MAX"}),
        (r"""a: "x" 'y' b: "C:\data" """, {"a": "xy", "b": r"C:\data"}),
        ("a: 1 a: 2 a: 3", {"a": [1, 2, 3]}),
        ("a: [] b: [1] c: 0 c: [1, 2]", {"a": [], "b": [1], "c": [0, 1, 2]}),
        ("f { type: 'x' f: < > } f: { }", {"f": [{"type": "x", "f": {}}, {}]}),
    ],
)
def test_fields_become_values(block, expected):
    assert values(block) == expected


def test_a_block_that_stands_twice_counts_as_one():
    layer = pb.LayerParameter()
    layer.unknown_param.add(name="a_param", text="a: 1")
    layer.unknown_param.add(name="a_param", text="a: 2 b: 3")
    assert generic.values(layer, "a_param") == {"a": [1, 2], "b": 3}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("\n a 3", "n.prototxt:2:4: layer 's': sin_param: expected ':' after 'a', got '3'."),
        ("a: -x", "expected a value, got 'x'."),
        ("a: 1.2.3", "expected a number, got '1.2.3'."),
        ("a: [1 2]", "expected ',' or ']', got '2'."),
        ("a:", "expected a value, got the end of the file."),
        ("3", "expected a field name, got '3'."),
    ],
)
def test_mistakes_are_refused_with_their_place(block, message):
    with pytest.raises(PrototxtError) as error:
        values(block)
    assert str(error.value).endswith(message)


def test_depth_is_no_matter():
    values("a {" * 5000 + "}" * 5000)


WORDS = "a: 1 { } < > [ ] , ; - 'x' é \\ true"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split())).map(" ".join))
def test_any_block_is_read_or_refused(block):
    layer = pb.LayerParameter()
    layer.unknown_param.add(name="a_param", text=block)
    try:
        generic.values(layer, "a_param")
    except PrototxtError as error:
        assert "layer ''" in str(error)  # noqa: PT017
