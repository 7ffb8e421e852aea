"""Solvers with eval_type "detection"."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, PrototxtError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.solver.keep import Keep
from caffepy.engine.solver.metric import Metric
from caffepy.engine.solver.metrics_log import MetricsLog
from caffepy.engine.solver.settings import Settings
from tests.engine.solver.running import make_solver, run_solver

CASES = sorted((Path(__file__).resolve().parents[2] / "golden" / "fork_solvers").glob("ap_*"))
EVALUATE = """layer {{ name: "{0}" type: "DetectionEvaluate" bottom: "det" bottom: "label"
  top: "{0}" detection_evaluate_param {{ num_classes: 4 {1} }} }}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first case, in the working directory."""
    shutil.copytree(CASES[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def text(*changes: tuple[str, str]) -> str:
    """The case's solver with parts of it replaced."""
    solver = (CASES[0] / "solver.prototxt").read_text()
    for old, new in changes:
        assert old in solver
        solver = solver.replace(old, new)
    return solver


def settings(*changes: tuple[str, str]) -> Settings:
    """The same, as it is read from a file."""
    Path("solver.prototxt").write_text(text(*changes))
    return Settings.read("solver.prototxt")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logs_the_lines_of_the_fork(case: Path, folder: Path, ops: Ops) -> None:
    shutil.copytree(case, folder, dirs_exist_ok=True)
    run = run_solver(Settings.read("solver.prototxt"), ops=ops)
    expected = json.loads((case / "map.json").read_text())
    lines = [line for line in run.lines if not line.startswith("Net '")]  # of graphs
    start = lines.index(expected["lines"][0])
    assert lines[start : start + len(expected["lines"])] == expected["lines"]
    (output,) = run.history.tests[0].outputs
    assert output.name == expected["output"]
    assert output.value == pytest.approx(expected["mAP"], rel=1e-5)


def test_classes_are_shown_where_asked_for_and_the_test_loss_before_them() -> None:
    run = run_solver(settings(("show_per_class_result: true", "test_compute_loss: true")))
    start = run.lines.index("Iteration 0, Testing net (#0)")
    assert run.lines[start + 1 : start + 3] == [
        "Test loss: 0",
        "    Test net output #0: detection_eval = 0.311678",
    ]


def test_several_outputs_and_several_nets_are_judged_each_by_itself() -> None:
    net = Path("test.prototxt").read_text()
    strict = EVALUATE.format("strict", "overlap_threshold: 0.99")
    Path("test.prototxt").write_text(net + strict)
    Path("other.prototxt").write_text(net.replace('name: "e"', 'name: "other"'))
    run = run_solver(
        settings(
            ("test_iter: 6", 'test_iter: 6 test_net: "other.prototxt" test_iter: 1'),
            ("show_per_class_result: true", ""),
        )
    )
    shown = [line.split()[-3:] for line in run.lines if "Test net output" in line]
    assert [words[0] for words in shown] == ["detection_eval", "strict", "detection_eval"]
    assert shown[0][2] == "0.311678"
    assert float(shown[1][2]) < 0.1
    assert shown[2][2] not in (shown[0][2], "0")


def test_a_class_that_nothing_was_found_of_is_warned_of_and_counts_0() -> None:
    detections = np.full((6, 1, 2, 7), -1, np.float32)
    detections[:, 0, 0] = [0, 2, 0.5, 0.1, 0.1, 0.2, 0.2]
    with h5py.File("test.h5", "r+") as file:
        del file["det"]
        file["det"] = detections
    run = run_solver(settings())
    start = run.lines.index("Iteration 0, Testing net (#0)")
    assert run.lines[start + 1 : start + 5] == [
        "Missing true_pos for label: 1",
        "class2: 0",
        "Missing true_pos for label: 3",
        "    Test net output #0: detection_eval = 0",
    ]


def test_the_best_weights_are_kept_by_it_and_it_stands_in_the_metrics() -> None:
    best = Metric.parse("detection_eval")
    solver = make_solver(
        text(("display: 0", 'snapshot_prefix: "x"')), callbacks=[Keep(1, best), MetricsLog()]
    )
    solver.solve()
    solver.close()
    (line,) = Path("metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["outputs"] == {"detection_eval": pytest.approx(0.311678, rel=1e-5)}
    assert best.direction == "max"
    assert json.loads(Path("x_best.json").read_text())["value"] == pytest.approx(0.311678, rel=1e-5)


def test_outputs_that_are_no_detections_are_refused() -> None:
    net = Path("test.prototxt").read_text()
    for change, message in (
        (
            'layer { name: "s" type: "Power" bottom: "det" top: "x" }',
            r"output 'x'.*\(1, 1, \d+, 7.*Put a Silence",
        ),
        ('layer { name: "s" type: "Silence" bottom: "detection_eval" }', "expected an output"),
    ):
        Path("test.prototxt").write_text(net + change)
        with pytest.raises(NetError, match=message):
            make_solver(text())


def test_what_does_not_exist_is_refused_by_the_nearest_name() -> None:
    for change, message in (
        (('"detection"', '"detections"'), "eval_type: .*Did you mean 'detection'"),
        (('"11point"', '"11points"'), "ap_version: expected one of 11point, Integral, MaxIntegral"),
    ):
        with pytest.raises(PrototxtError, match=message):
            make_solver(text(change))


def test_without_eval_type_detections_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    make_solver(text(('eval_type: "detection"', ""))).close()
    assert 'set the solver\'s eval_type to "detection"' in caplog.text


def test_without_eval_type_the_remedy_is_told() -> None:
    with h5py.File("test.h5", "r+") as file:
        file["det"][1, 0, -1] = -1
        file["det"][0, 0, -1] = [0, 1, 0.5, 0, 0, 1, 1]
    with pytest.raises(ShapeError, match='eval_type: "detection"'):
        run_solver(settings(('eval_type: "detection"', "")))
