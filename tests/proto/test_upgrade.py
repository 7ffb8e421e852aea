"""Old forms: what Caffe's upgrade tools made of the same files, and what cannot be upgraded."""

from __future__ import annotations

import json
import logging

import pytest

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import text
from caffepy.proto.errors import PrototxtError
from caffepy.proto.upgrade import (
    complete_snapshot_prefix,
    net_needs_upgrade,
    upgrade_net,
    upgrade_solver,
)

NETS = ("bn_params", "current", "input_dims", "v0_data", "v0_small", "v1_lenet")
SOLVERS = ("solver_already", "solver_enum_type")


def net(source: str) -> pb.NetParameter:
    return text.parse(source, pb.NetParameter, "old.prototxt")


def upgraded(source: str) -> pb.NetParameter:
    return text.strip_notes(upgrade_net(net(source)))


@pytest.mark.parametrize("name", NETS)
def test_text_nets_become_what_caffes_tool_wrote(golden, name):
    folder = golden / "formats" / "legacy"
    read = text.read(folder / f"{name}.prototxt", pb.NetParameter)
    wanted = text.read(folder / f"{name}.upgraded.prototxt", pb.NetParameter)
    before = read.SerializeToString()
    assert text.strip_notes(upgrade_net(read)) == text.strip_notes(wanted)
    assert read.SerializeToString() == before
    assert net_needs_upgrade(read) is (name != "current")
    assert not net_needs_upgrade(upgrade_net(read))


@pytest.mark.parametrize("name", NETS)
def test_binary_nets_become_what_caffes_tool_wrote(golden, name):
    folder = golden / "formats" / "legacy"
    read = pb.NetParameter.FromString((folder / f"{name}.bin").read_bytes())
    wanted = pb.NetParameter.FromString((folder / f"{name}.upgraded.bin").read_bytes())
    assert upgrade_net(read) == wanted


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_become_what_caffes_tool_wrote(golden, name):
    folder = golden / "formats" / "legacy"
    read = text.read(folder / f"{name}.prototxt", pb.SolverParameter)
    wanted = text.read(folder / f"{name}.upgraded.prototxt", pb.SolverParameter)
    assert upgrade_solver(read) == wanted


def test_every_recorded_upgrade_is_among_the_cases(golden):
    recorded = json.loads((golden / "formats" / "legacy" / "legacy.json").read_text())
    assert set(recorded) == {*NETS, *SOLVERS}
    assert all(case["exit_code"] == 0 for case in recorded.values())


def test_layers_keep_the_place_they_were_read_from():
    result = upgrade_net(
        net('layers { layer { name: "a" type: "relu" } }\n\nlayers { name: "b" type: RELU }')
    )
    assert [(layer.source_file, layer.source_line) for layer in result.layer] == [
        ("old.prototxt", 1),
        ("old.prototxt", 3),
    ]


def test_unknown_blocks_of_a_v1_layer_survive():
    result = upgrade_net(net('layers { name: "a" type: RELU sin_param { a: 1 } }'))
    assert result.layer[0].unknown_param[0].text == " a: 1 "


def test_v1_fields_of_forks_move_too():
    result = upgraded('layers { name: "a" type: UPSAMPLE upsample_param { scale: 2 } }')
    assert result.layer[0].type == "Upsample"
    assert result.layer[0].upsample_param.scale == 2


def test_input_shape_becomes_an_input_layer_that_comes_first():
    result = upgraded(
        'input: "a" input_shape { dim: 1 dim: 2 } layer { name: "x" type: "ReLU" bottom: "a" }'
    )
    assert [layer.name for layer in result.layer] == ["input", "x"]
    assert list(result.layer[0].input_param.shape[0].dim) == [1, 2]
    assert not result.input
    assert not result.input_shape


def test_v0_field_that_its_type_has_no_use_for_is_logged(caplog):
    with caplog.at_level(logging.WARNING):
        upgrade_net(net('layers { layer { name: "a" type: "relu" num_output: 3 } }'))
    assert "old.prototxt:1: layer 'a' (relu): type 'relu' has no use for num_output" in caplog.text


def test_a_batch_norm_with_other_than_three_params_is_left_alone():
    source = 'layer { name: "b" type: "BatchNorm" param { lr_mult: 1 } param { lr_mult: 1 } }'
    assert not net_needs_upgrade(net(source))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            'input: "a" layer { name: "x" type: "ReLU" bottom: "a" }',
            "old.prototxt: layer 'input' (Input): expected four input_dim per input, 4, got 0."
            " Use input_shape for other numbers of axes.",
        ),
        (
            'input: "a" input: "b" input_shape { dim: 1 }',
            "layer 'input' (Input): expected one input_shape per input, 2, got 1."
            " Give each input its shape.",
        ),
        (
            'layer { name: "x" type: "ReLU" }\nlayers { name: "y" type: RELU }',
            "old.prototxt:1: layer 'x' (ReLU): expected only one form of layers in a net, got"
            " 'layer' here and 'layers' (old.prototxt:2: layer 'y' (RELU))."
            " Rewrite the 'layers' blocks as 'layer'.",
        ),
        (
            'layers { layer { name: "x" type: "innerprodukt" } }',
            "old.prototxt:1: layer 'x' (innerprodukt): 'innerprodukt' is no V0 layer type."
            " Did you mean 'innerproduct'?",
        ),
        (
            'input: "data"\nlayers { layer { name: "x" type: "relu" } bottom: "dta" }',
            "old.prototxt:2: layer 'x' (relu): bottom 'dta' is made by no layer before this one."
            " Did you mean 'data'?",
        ),
        (
            'input: "d" layers { layer { name: "p" type: "padding" } bottom: "d" top: "p" }'
            ' layers { layer { name: "x" type: "relu" } bottom: "p" }',
            "old.prototxt:1: layer 'x' (relu): expected a conv or pool layer behind the padding"
            " layer 'p', got 'relu'.",
        ),
    ],
)
def test_nets_that_cannot_be_upgraded_say_why(source, message):
    with pytest.raises(PrototxtError) as error:
        upgrade_net(net(source))
    assert str(error.value) == message


def test_solver_type_and_type_together_are_refused():
    solver = text.parse('type: "SGD" solver_type: SGD', pb.SolverParameter)
    with pytest.raises(
        PrototxtError, match=r"either solver_type \(the old form\) or type, got both"
    ):
        upgrade_solver(solver)


def test_snapshot_prefix_defaults_to_the_solver_file_without_its_ending(tmp_path):
    prefix = complete_snapshot_prefix(pb.SolverParameter(), "nets/a.solver.prototxt")
    assert prefix.snapshot_prefix.replace("\\", "/") == "nets/a.solver"
    given = complete_snapshot_prefix(pb.SolverParameter(snapshot_prefix="x/y"), "s.prototxt")
    assert given.snapshot_prefix == "x/y"


def test_snapshot_prefix_that_is_a_folder_gets_the_solver_files_name(tmp_path):
    solver = pb.SolverParameter(snapshot_prefix=str(tmp_path))
    result = complete_snapshot_prefix(solver, "nets/solver.prototxt")
    assert result.snapshot_prefix == str(tmp_path / "solver")
