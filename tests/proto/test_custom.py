"""Blocks that the schema does not know, by declared fields."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import custom, text
from caffepy.proto.errors import PrototxtError

FIELDS: dict[str, Any] = {
    "amplitude": 1.0,
    "axis": -1,
    "bias": True,
    "label": "none",
    "mode": ("SIN", "COS"),
    "weight": [float],
    "pair": [1, 2],
    "shape": {"dim": [int], "name": ""},
    "step": [{"at": int, "factor": 0.1}],
}


def layer(block: str) -> pb.LayerParameter:
    source = f'layer {{ name: "s" type: "Sin"\n  sin_param {{{block}}} }}'
    return text.parse(source, pb.NetParameter, "n.prototxt").layer[0]


def read(block: str, fields: dict[str, Any] = FIELDS) -> SimpleNamespace:
    return custom.block(layer(block), "sin_param", fields)


def test_fields_that_are_not_given_have_their_defaults() -> None:
    expected = SimpleNamespace(
        amplitude=1.0, axis=-1, bias=True, label="none", mode="SIN", weight=[], pair=[1, 2],
        shape=SimpleNamespace(dim=[], name=""), step=[],
    )  # fmt: skip
    assert read("") == expected
    assert custom.block(pb.LayerParameter(), "sin_param", FIELDS) == expected


@pytest.mark.parametrize(
    ("block", "field", "expected"),
    [
        ("amplitude: 2", "amplitude", 2.0),
        ("amplitude: -.5f", "amplitude", -0.5),
        ("amplitude: -inf", "amplitude", -math.inf),
        ("axis: -3", "axis", -3),
        ("bias: 0", "bias", False),
        ("bias: false", "bias", False),
        ("label: 'a b'", "label", "a b"),
        ("mode: COS", "mode", "COS"),
        ("weight: 1 weight: 2.5", "weight", [1.0, 2.5]),
        ("weight: [1, 2]", "weight", [1.0, 2.0]),
        ("weight: 3", "weight", [3.0]),
        ("pair: []", "pair", []),
        ("shape { dim: 2 dim: 3 }", "shape", SimpleNamespace(dim=[2, 3], name="")),
        ("step { at: 1 }", "step", [SimpleNamespace(at=1, factor=0.1)]),
        (
            "step { at: 1 } step { at: 2 factor: 3 }",
            "step",
            [SimpleNamespace(at=1, factor=0.1), SimpleNamespace(at=2, factor=3.0)],
        ),
    ],
)
def test_fields_are_read_by_their_type(block: str, field: str, expected: object) -> None:
    found = getattr(read(block), field)
    assert found == expected
    assert type(found) is type(expected)


def test_nan_is_a_number() -> None:
    assert math.isnan(read("amplitude: nan").amplitude)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (" amplitud: 2", "2:15: layer 's': 'amplitud' is not a field of sin_param. Did you mean "
         "'amplitude'?"),
        ("\n  x: 2", "3:3: layer 's': 'x' is not a field of sin_param. It has amplitude, axis,"),
        (" amplitude: big", "2:15: layer 's': sin_param.amplitude: expected a number, got 'big'."),
        (" amplitude: true", "sin_param.amplitude: expected a number, got 'true'. Correct it."),
        (" amplitude { }", "sin_param.amplitude: expected a number, got a block."),
        (" amplitude: 1 amplitude: 2", "2:28: layer 's': sin_param.amplitude: expected one value, "
         "got 2. Keep one."),
        (" axis: 1.0", "sin_param.axis: expected a whole number, got '1.0'."),
        (" axis: 'x'", "sin_param.axis: expected a whole number, got 'x'."),
        (" bias: 2", "sin_param.bias: expected true or false, got '2'."),
        (" label: 3", "sin_param.label: expected a string, got '3'."),
        (" mode: TAN", "sin_param.mode: expected one of SIN, COS, got 'TAN'."),
        (" weight: [1,\n x]", "3:2: layer 's': sin_param.weight: expected a number, got 'x'."),
        (" shape: 3", "sin_param.shape: expected a block { ... }, got '3'."),
        (" shape { dims: 3 }", "2:23: layer 's': 'dims' is not a field of sin_param.shape. Did you "
         "mean 'dim'?"),
        (" shape { dim: 1 dim: x }", "2:30: layer 's': sin_param.shape.dim: expected a whole"),
        (" step { at: 1 } step { at: y }", "2:37: layer 's': sin_param.step.at: expected a whole"),
        (" step { }", "n.prototxt:1: layer 's' (Sin): sin_param.step.at: expected a whole number, "
         "got none. Write sin_param { step { at: 1 } }."),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_their_place(block: str, message: str) -> None:
    with pytest.raises(PrototxtError) as error:
        read(block)
    assert message in str(error.value)
    assert str(error.value).startswith("n.prototxt:")


def test_a_field_with_a_type_must_be_given() -> None:
    assert read("axis: 2", {"axis": int}).axis == 2
    with pytest.raises(PrototxtError, match=r"sin_param.axis: expected a whole number, got none. "):
        read("", {"axis": int})


@pytest.mark.parametrize("declared", [None, [], (), (1, 2), complex, b"x", [None]])
def test_a_declaration_that_means_nothing_is_refused(declared: object) -> None:
    with pytest.raises(TypeError, match=r"sin_param.x: expected a default, a type"):
        read("", {"x": declared})


def test_blocks_that_nobody_reads_are_refused() -> None:
    unread = layer(" a: 1")
    custom.refuse_unread(unread, {"sin_param"})
    with pytest.raises(PrototxtError) as error:
        custom.refuse_unread(unread, {"sine_param"})
    assert str(error.value) == (
        "n.prototxt:2:13: layer 's' (Sin): a layer of this type has no block 'sin_param'. Did you "
        "mean 'sine_param'?"
    )


WORDS = "amplitude shape step at dim : 1 2.5 x { } [ ] , true 'y'"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join))
def test_any_block_is_read_or_refused(block: str) -> None:
    param = pb.LayerParameter(name="s")
    param.unknown_param.add(name="sin_param", text=block)
    try:
        custom.block(param, "sin_param", FIELDS)
    except PrototxtError as error:
        assert "layer 's'" in str(error)  # noqa: PT017
