"""test_detection: mean average precisions, printed and as JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.data import datum
from caffepy.engine.data.db import create_db
from caffepy.proto.caffe_pb2 import (
    AnnotatedDatum,
    LayerParameter,
    NetParameter,
    NormalizedBBox,
)
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


def test_a_label_map_that_the_net_names_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    net = Path("test.prototxt").read_text()
    named = 'detection_output_param { save_output_param { label_map_file: "map.prototxt" } }'
    data = 'name: "data"'
    assert net.count(data) == 1
    Path("test.prototxt").write_text(net.replace(data, f"{data} {named}"))
    for content, name in ((None, "11point"), ('item { name: "cat" label: 1 }', "cat")):
        if content is not None:
            Path("map.prototxt").write_text(content)
        assert run() == 0
        assert name in capsys.readouterr().out.split()


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


READING = """layer { name: "data" type: "AnnotatedData" top: "data" top: "label"
  transform_param { resize_param { height: 8 width: 8 } }
  data_param { source: "boxes" batch_size: 2 backend: LMDB } }
layer { name: "none" type: "Silence" bottom: "data" }
layer { name: "found" type: "DummyData" top: "found" dummy_data_param {
  shape { dim: 1 dim: 1 dim: 1 dim: 7 } data_filler { value: 1 } } }
layer { name: "eval" type: "DetectionEvaluate" bottom: "found" bottom: "label" top: "eval"
  detection_evaluate_param { num_classes: 3 background_label_id: 0 } }
"""


@pytest.mark.parametrize(
    ("records", "arguments", "batches", "warning"),
    [
        (4, [], 2, ""),
        (4, ["-iterations=2"], 2, ""),
        (4, ["-iterations=1"], 1, "1 batches of 2 are 2 images, and 'boxes' has 4: the others are"),
        (3, [], 2, "2 batches of 2 are 4 images, and 'boxes' has 3: some count more than once."),
    ],
)
def test_a_database_is_read_once(
    records: int,
    arguments: list[str],
    batches: int,
    warning: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = AnnotatedDatum(datum=datum.raw(np.ones((3, 8, 8), np.uint8), -1))
    record.type = AnnotatedDatum.BBOX
    group = record.annotation_group.add(group_label=1)
    group.annotation.add().bbox.MergeFrom(NormalizedBBox(xmin=0, ymin=0, xmax=1, ymax=1))
    with create_db("boxes", "lmdb") as writer:
        for key in range(records):
            writer.put(b"%d" % key, record.SerializeToString())
    Path("net.prototxt").write_text(READING)
    assert cli._run(["test_detection", "-model=net.prototxt", *arguments], debug=False) == 0
    printed = capsys.readouterr()
    assert f"Running for {batches} iterations." in printed.err
    assert warning in printed.err
    assert ("images, and" in printed.err) == bool(warning)
    assert printed.out.splitlines()[2].split()[:2] == ["1", str(2 * batches)]
