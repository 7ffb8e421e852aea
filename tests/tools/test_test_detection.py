"""test_detection: mean average precisions, printed and as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from caffepy.proto.caffe_pb2 import LayerParameter, NetParameter
from caffepy.tools import cli

CASES = Path(__file__).resolve().parents[1] / "golden" / "fork_solvers"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_as_before: None) -> Path:
    """A recorded case, in the working directory."""
    shutil.copytree(CASES / "ap_11point", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    given = ["test_detection", "--model=test.prototxt", "--iterations=6", *arguments]
    return cli._run(given, debug=False)


def test_all_three_precisions_are_those_of_the_fork(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "map.out") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "detection_eval"
    assert printed[1].split() == [
        "class", "objects", "detections", "hits", "11point", "MaxIntegral", "Integral",
    ]  # fmt: skip
    assert [line.split()[0] for line in printed[2:]] == ["1", "2", "3", "mean"]
    found = json.loads(Path("map.out").read_text())
    output = found["outputs"]["detection_eval"]
    for version, case in (
        ("11point", "ap_11point"),
        ("MaxIntegral", "ap_maxintegral"),
        ("Integral", "ap_integral"),
    ):
        expected = json.loads((CASES / case / "map.json").read_text())
        mean = output["mean_average_precision"][version]
        assert mean == pytest.approx(expected["mAP"], rel=1e-5)
        assert f"{mean:.6f}" in printed[-1].split()
        for one, line in zip(output["classes"], printed[2:], strict=False):
            precision = one["average_precision"][version]
            assert precision == pytest.approx(expected["per_class"][str(one["label"])], rel=1e-5)
            assert f"{precision:.6f}" in line.split()
    assert found["iterations"] == 6
    assert all(one["objects"] >= one["hits"] > 0 for one in output["classes"])


def test_one_precision_and_the_names_of_the_classes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("map.prototxt").write_text(
        'item { name: "n1" label: 1 display_name: "cat" } item { name: "n2" label: 2 }'
    )
    assert run("-ap", "Integral", "-label_map", "map.prototxt") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in printed[2:4]] == [["1", "cat"], ["2", "n2"]]
    assert printed[-1].split() == ["mean", "0.272691"]


def test_a_net_without_detections_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(["test_detection", "--model", "train.prototxt"], debug=False) == 1
    told = capsys.readouterr().err
    assert "output 'loss': expected the top of a DetectionEvaluate layer" in told
    assert "Give a net that has such a layer in phase TEST." in told


def test_a_net_with_parameters_and_no_weights_is_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    net = Path("test.prototxt").read_text()
    more = """layer { name: "w" type: "Parameter" top: "w" parameter_param { shape { dim: 1 } } }
        layer { name: "s" type: "Silence" bottom: "w" }"""
    assert run() == 0
    assert "No --weights" not in capsys.readouterr().err
    Path("test.prototxt").write_text(net + more)
    assert run() == 0
    assert "No --weights: parameters are as their fillers make them." in capsys.readouterr().err


def test_an_unknown_precision_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--ap", "12point") == 2
    assert "11point" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "no/map.out") == 1
    assert "no/map.out: cannot be written" in capsys.readouterr().err


def test_caffepy_test_points_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    weights = NetParameter(layer=[LayerParameter(name="data", type="HDF5Data")])
    Path("none.caffemodel").write_bytes(weights.SerializeToString())
    given = ["test", "-model=test.prototxt", "-weights=none.caffemodel", "-iterations=1"]
    assert cli._run(given, debug=False) == 0
    assert "`caffepy test_detection` computes" in capsys.readouterr().err
