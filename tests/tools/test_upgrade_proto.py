"""The upgrade commands, against what Caffe's wrote and logged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import text, weights
from caffepy.proto.wire import header
from caffepy.tools import cli

NETS = ("bn_params", "current", "input_dims", "v0_data", "v0_small", "v1_lenet")
SOLVERS = ("solver_already", "solver_enum_type")


def told(log: str, replaced: tuple[str, str] | None = None) -> list[str]:
    """`I message` of each line."""
    lines = [re.sub(r"^(\w)\S* .*?\] ", r"\1 ", line) for line in log.splitlines()]
    lines = [line.replace(" .upgrade", " upgrade") for line in lines]  # a folder's name
    return [line.replace(*replaced) if replaced else line for line in lines]


@pytest.mark.parametrize("name", [*NETS, *SOLVERS])
def test_text_files_become_what_caffes_tools_wrote_with_the_same_lines(
    golden: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_as_before: None,
) -> None:
    folder = golden / "formats" / "legacy"
    case = json.loads((folder / "legacy.json").read_text())[name]
    monkeypatch.chdir(folder)
    command, source, target = case["command"]
    assert cli._run([command, source, str(tmp_path / target)], debug=False) == 0
    kind = pb.SolverParameter if name in SOLVERS else pb.NetParameter
    found, wanted = text.read(tmp_path / target, kind), text.read(folder / target, kind)
    assert text.strip_notes(found) == text.strip_notes(wanted)
    assert (tmp_path / target).read_text() == (folder / target).read_text()
    lines = told(capsys.readouterr().err, (f"{tmp_path}/", ""))
    assert lines == told(case["stderr"])


@pytest.mark.parametrize("name", NETS)
def test_binary_nets_become_what_caffes_tool_wrote(
    golden: Path, tmp_path: Path, name: str, log_as_before: None
) -> None:
    folder = golden / "formats" / "legacy"
    output = tmp_path / "out.bin"
    source = str(folder / f"{name}.bin")
    assert cli._run(["upgrade_net_proto_binary", source, str(output)], debug=False) == 0
    wanted = pb.NetParameter.FromString((folder / f"{name}.upgraded.bin").read_bytes())
    assert pb.NetParameter.FromString(output.read_bytes()) == wanted


def test_weights_move_with_their_layers(golden: Path, tmp_path: Path, log_as_before: None) -> None:
    folder = golden / "formats" / "models"
    arguments = [str(folder / "v1.caffemodel"), str(tmp_path / "out")]
    assert cli._run(["upgrade_net_proto_binary", *arguments], debug=False) == 0
    assert (tmp_path / "out").read_bytes() == (folder / "v1_upgraded.caffemodel").read_bytes()
    before, (_, *after) = weights.read(folder / "v1.caffemodel"), weights.read(tmp_path / "out")
    for one, other in zip(before, after, strict=True):  # `input` has become a layer
        assert (one.name, one.type) == (other.name, other.type)
        for mine, theirs in zip(one.blobs, other.blobs, strict=True):
            np.testing.assert_array_equal(mine.data, theirs.data)


@pytest.mark.parametrize(
    ("command", "content", "message"),
    [
        ("upgrade_net_proto_text", b"layer {", "in.file:1"),
        ("upgrade_net_proto_text", b"", "expected a prototxt, got a file that is empty"),
        ("upgrade_net_proto_binary", b'name: "text"\n', "expected a .caffemodel, got a text file"),
        ("upgrade_net_proto_binary", b"\xff" * 50, "in.file: "),
        ("upgrade_solver_proto_text", b'type: "SGD" solver_type: SGD', "got both"),
    ],
)
def test_bad_files_are_refused_and_nothing_is_written(
    tmp_path: Path,
    command: str,
    content: bytes,
    message: str,
    capsys: pytest.CaptureFixture[str],
    log_as_before: None,
) -> None:
    (tmp_path / "in.file").write_bytes(content)
    assert cli._run([command, str(tmp_path / "in.file"), str(tmp_path / "out")], False) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], log_as_before: None
) -> None:
    source = golden / "formats" / "legacy" / "current.prototxt"
    arguments = ["upgrade_net_proto_text", str(source), str(tmp_path / "none" / "out")]
    assert cli._run(arguments, debug=False) == 1
    assert "none/out: cannot be written" in capsys.readouterr().err


def crop_net(number: int, *more: bytes) -> bytes:
    """A binary net with a CropCenter layer whose block has this number."""
    body = block(1, b"crop") + block(2, b"CropCenter") + block(number, b"\x10\x03") + b"".join(more)
    return block(1, b"net") + block(100, body)


def block(number: int, content: bytes) -> bytes:
    return header(number, len(content)) + content


@pytest.mark.parametrize(
    ("option", "number"), [((), 149), (("--dialect", "waifu2x"), 149), (("-dialect=nv",), 151)]
)
def test_blocks_of_forks_stay_or_take_the_numbers_of_a_dialect(
    tmp_path: Path, option: tuple[str, ...], number: int, log_as_before: None
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.write_bytes(crop_net(149, block(555, b"kept")))
    if number != 149:  # NVCaffe has an LSTM's block at 151
        lstm = block(1, b"l") + block(2, b"LSTM")
        source.write_bytes(block(100, lstm + block(146, b"\x08\x04")))
    command = ["upgrade_net_proto_binary", *option, str(source), str(output)]
    assert cli._run(command, debug=False) == 0
    if number == 149:
        assert output.read_bytes() == source.read_bytes()
    else:
        assert output.read_bytes() == block(100, lstm + block(number, b"\x08\x04"))


def test_names_in_another_encoding_are_those_of_such_a_prototxt(
    tmp_path: Path, log_as_before: None
) -> None:
    name = "\u5377\u79ef".encode("gbk")
    net = text.parse(b'layer { name: "' + name + b'" type: "ReLU" }', pb.NetParameter)
    v1 = block(2, block(4, name) + block(2, name) + b"\x28\x12")
    v2 = block(100, block(1, name) + block(3, name) + block(2, b"ReLU"))
    for data in (v1, v2):
        (tmp_path / "in").write_bytes(data)
        arguments = [str(tmp_path / "in"), str(tmp_path / "out")]
        assert cli._run(["upgrade_net_proto_binary", *arguments], debug=False) == 0
        (layer,) = pb.NetParameter.FromString((tmp_path / "out").read_bytes()).layer
        assert layer.name == net.layer[0].name
        assert weights.parse(data, "x")[0].name == layer.name


def test_an_unknown_dialect_is_a_wrong_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log_as_before: None
) -> None:
    (tmp_path / "in").write_bytes(crop_net(149))
    arguments = ["--dialect", "segnett", str(tmp_path / "in"), str(tmp_path / "out")]
    assert cli._run(["upgrade_net_proto_binary", *arguments], debug=False) == 2
    assert "got 'segnett'. Did you mean 'segnet'?" in " ".join(capsys.readouterr().err.split())
