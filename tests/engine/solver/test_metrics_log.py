"""metrics.jsonl: what a run writes, and what is left of it after it was killed and resumed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caffepy.engine.solver.callbacks import StopAfter
from caffepy.engine.solver.metrics_log import MetricsFile, MetricsLog
from tests.engine.solver.running import CASES, Settings, make_solver, run_solver

SOLVER = """
net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "multistep" gamma: 0.5 stepvalue: 3
test_iter: 2 test_interval: 4 max_iter: 12 display: 3 average_loss: 2 snapshot: 5
random_seed: 3 iter_size: 2
"""
KEYS = [
    "run", "iteration", "phase", "test_net", "loss", "lr", "outputs", "seconds", "images_per_s",
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(CASES / "sgd_fixed", tmp_path, dirs_exist_ok=True)
    for old in tmp_path.glob("snap_*"):
        old.unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(prefix: str = "snap", more: str = "", **options: Any) -> None:
    text = f'{SOLVER} snapshot_prefix: "{prefix}" {more}'
    make_solver(text, callbacks=[MetricsLog(), *options.pop("also", [])], **options).solve()


def strict(line: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(line, parse_constant=refuse)


def lines(path: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [strict(line) for line in Path(path).read_text().splitlines()]


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: record[key] for key in KEYS if key not in ("seconds", "images_per_s")}
        for record in records
    ]


def test_displays_and_tests_are_lines_with_full_precision() -> None:
    settings_text = f'{SOLVER} snapshot_prefix: "snap"'
    Path("solver.prototxt").write_text(settings_text)
    known = run_solver(Settings.read("solver.prototxt"))
    train()
    found = lines()
    assert all(list(record) == KEYS for record in found)
    assert {record["run"] for record in found} == {"snap"}
    trained = [record for record in found if record["phase"] == "train"]
    assert [record["iteration"] for record in trained] == [0, 3, 6, 9, 12]
    assert [record["lr"] for record in trained[:-1]] == [
        known.history.rates[record["iteration"]] for record in trained[:-1]
    ]
    assert trained[-1]["lr"] is None  # the last display has none in Caffe's log either
    assert trained[0]["loss"] == known.history.losses[0]
    assert trained[1]["loss"] == sum(known.history.losses[place] for place in (2, 3)) / 2
    tested = [record for record in found if record["phase"] == "test"]
    assert [(record["iteration"], record["test_net"]) for record in tested] == [
        (result.iteration, result.net) for result in known.history.tests
    ]
    for record, result in zip(tested, known.history.tests, strict=True):
        assert record["outputs"] == {output.name: output.value for output in result.outputs}
        assert record["loss"] == sum(output.weighted for output in result.outputs)
    assert trained[0]["images_per_s"] is None
    assert trained[1]["images_per_s"] > 0
    assert [r["seconds"] for r in found] == sorted(r["seconds"] for r in found)


@pytest.mark.parametrize("killed_after", [5, 6, 7, 8, 9, 12])
def test_a_resumed_run_leaves_the_lines_of_an_unbroken_one(folder: Path, killed_after: int) -> None:
    train()
    whole = without_times(lines())
    Path("metrics.jsonl").unlink()
    train(also=[StopAfter(killed_after)], more="snapshot_after_train: false")
    with open("metrics.jsonl", "a") as file:
        file.write('{"run": "snap", "iterat')
    newest = 10 if killed_after >= 10 else 5
    train(resume=f"snap_iter_{newest}.solverstate")
    assert without_times(lines()) == whole


def test_runs_of_several_prefixes_share_the_file() -> None:
    train("one")
    one = Path("metrics.jsonl").read_text()
    train("two")
    both = Path("metrics.jsonl").read_text()
    assert both.startswith(one)
    train("one")
    found = lines()
    assert [record["run"] for record in found] == ["two"] * 9 + ["one"] * 9
    assert both.removeprefix(one) + one != both
    assert Path("metrics.jsonl").read_text().startswith(both.removeprefix(one))


def test_lines_that_are_not_ours_stay(folder: Path) -> None:
    theirs = b'{"epoch": 1}\nno json\r\n{"run": 3}\n[1]\n{"run": "snap"}\nlast line without end'
    (folder / "metrics.jsonl").write_bytes(theirs)
    file = MetricsFile(folder / "metrics.jsonl")
    file.append({"run": "snap", "iteration": 3})
    file.append({"run": "snap", "iteration": 4})
    file.remove("snap", 4)
    ours = b'\n{"run": "snap", "iteration": 3}\n'
    assert (folder / "metrics.jsonl").read_bytes() == theirs + ours


@pytest.mark.parametrize("half", ['{"run": "other", "ite', '{"ru', "{"])
def test_half_a_line_of_a_killed_process_goes_at_the_next_one(folder: Path, half: str) -> None:
    (folder / "metrics.jsonl").write_text('{"run": "other", "iteration": 1}\n' + half)
    MetricsFile(folder / "metrics.jsonl").append({"run": "snap", "iteration": 1})
    assert [record["run"] for record in lines()] == ["other", "snap"]


def test_what_json_has_no_number_for_is_a_string(folder: Path) -> None:
    values = [float("nan"), float("inf"), float("-inf"), 1.5]
    MetricsFile(folder / "metrics.jsonl").append({"loss": values[0], "outputs": {"a": values}})
    assert lines() == [{"loss": "nan", "outputs": {"a": ["nan", "inf", "-inf", 1.5]}}]


def test_an_output_of_several_numbers_is_a_list() -> None:
    net = Path("net.prototxt").read_text()
    Path("net.prototxt").write_text(
        net + 'layer { name: "flat" type: "Power" bottom: "data" top: "flat" }'
    )
    train(also=[StopAfter(1)])
    values = lines()[0]["outputs"]["flat"]
    assert len(values) > 8
    assert all(isinstance(value, float) for value in values)


FULL = """
import os, resource, signal, sys
from pathlib import Path
from caffepy.engine.solver.metrics_log import MetricsFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
file = MetricsFile(Path("metrics.jsonl"))
for number in range(9):
    file.append({"run": "snap", "iteration": number})
file.remove("snap", 1)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")
def test_a_full_disk_is_warned_of_once_and_leaves_whole_lines() -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr.count("cannot be written: File too large") == 1
    assert "Training goes on without these lines" in run.stderr
    assert [record["iteration"] for record in lines()] == [0]


def test_a_missing_folder_is_warned_of_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    file = MetricsFile(Path("none") / "metrics.jsonl")
    file.append({"run": "snap"})
    file.append({"run": "snap"})
    assert len(caplog.messages) == 1
    assert "No such file or directory" in caplog.text


APPENDING = """
import sys
from pathlib import Path
from caffepy.engine.solver.metrics_log import MetricsFile
file = MetricsFile(Path("metrics.jsonl"))
for number in range(300):
    if number % 50 == 0:
        file.remove(sys.argv[1], 0)
    file.append({"run": sys.argv[1], "iteration": number})
"""


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_processes_that_write_at_once_lose_no_line() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDING, name],
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for name in ("a", "b", "c")
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for name in ("a", "b", "c"):
        mine = [record["iteration"] for record in lines() if record["run"] == name]
        assert mine == list(range(250, 300))
