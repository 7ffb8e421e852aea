"""The upgrade commands, against what Caffe's wrote and logged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import text, weights
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
