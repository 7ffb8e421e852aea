"""A training's records and its end, through the real command: killed and resumed, stopped early."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.integration.refusals import Run, assert_refused

ROOT = Path(__file__).resolve().parents[2]
SOLVER = """net: "net.prototxt" test_iter: 3 test_interval: 50 base_lr: 0.001 lr_policy: "fixed"
momentum: 0.9 max_iter: 900 display: 30 snapshot: 70 snapshot_prefix: "s" random_seed: 1
"""


@pytest.fixture(autouse=True)
def case(golden: Path, tmp_path: Path) -> Path:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    for old in tmp_path.glob("snap_*"):
        old.unlink()
    (tmp_path / "s.prototxt").write_text(SOLVER)
    return tmp_path


def records(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    for record in found:
        del record["seconds"], record["images_per_s"]
    return found


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_killed_and_resumed_training_has_the_records_of_an_unbroken_one(
    case: Path, run: Run
) -> None:
    arguments = ["train", "-solver=s.prototxt", "-engine=numpy", "-snapshot=auto"]
    status, message = run(*arguments)
    assert status == 0, message
    whole = records(case)
    for path in [*case.glob("s_*"), case / "metrics.jsonl"]:
        path.unlink()
    process = subprocess.Popen(
        [sys.executable, "-m", "caffepy", *arguments],
        cwd=case,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Iteration 390," in line:
            break
    process.kill()
    process.communicate()
    assert len(records(case)) < len(whole)
    status, message = run(*arguments)
    assert status == 0, message
    assert "going on from there" in message
    assert records(case) == whole


OWN = """
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer

@register_layer("MyTanH")
class MyTanH(NeuronLayer):
    gradient_from_top = True

    def make_op(self, x):
        return self.ops.tanh()
"""
HALVES = """
import caffe

class Half(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top): top[0].data[...] = bottom[0].data / 2
    def backward(self, top, propagate_down, bottom): bottom[0].diff[...] = top[0].diff / 2
"""


@pytest.mark.skipif(os.name != "posix", reason="the command is written for a POSIX shell")
def test_the_command_in_the_resolved_files_finds_layers_of_ones_own(case: Path) -> None:
    def train(command: str) -> np.ndarray:
        """Trains by a command, in a folder beside that of the net; the weights."""
        words = command.replace("caffepy train", f"{sys.executable} -m caffepy train")
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(
            words,
            shell=True,
            cwd=case / "work",
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        with h5py.File(case / "work" / "s_iter_3.caffemodel.h5") as file:
            weights: np.ndarray = file["data/ip1/0"][()]
        return weights

    (case / "work").mkdir()
    (case / "work" / "own layers.py").write_text(OWN)
    (case / "halves.py").write_text(HALVES)
    for part in ("train", "test"):
        (case / f"{part}.txt").write_text(f"../{part}.h5")
    net = (case / "net.prototxt").read_text().replace("ReLU", "MyTanH")
    net = net.replace('bottom: "ip1"', 'bottom: "half"')
    half = """layer { name: "half" type: "Python" bottom: "ip1" top: "half"
      python_param { module: "halves" layer: "Half" } }\n"""
    before, loss, after = net.partition('layer { name: "accuracy"')
    (case / "net.prototxt").write_text(before + half + loss + after)
    options = "-layers 'own layers.py' -set=max_iter=3 -set=snapshot_format=HDF5"
    first = train(f"caffepy train -solver ../s.prototxt {options}")
    head = (case / "work" / "s_resolved_solver.prototxt").read_text().splitlines()[:3]
    assert head[2].startswith("#   PYTHONPATH=")
    np.testing.assert_array_equal(train(head[2].removeprefix("#")), first)


def test_early_stopping_and_the_best_snapshot(case: Path, run: Run) -> None:
    options = ("-early-stop=loss:2", "-keep-best=loss:min", "-keep=1", "-set=base_lr=0")
    status, message = run("train", "-solver=s.prototxt", "-engine=numpy", *options)
    assert status == 0, message
    assert "Early stopping: loss has not got better in 2 tests; the best was" in message
    assert "Optimization stopped early." in message
    best = json.loads((case / "s_best.json").read_text())
    ended = max(record["iteration"] for record in records(case))
    kept = {int(path.stem.rpartition("_")[2]) for path in case.glob("s_iter_*.solverstate")}
    assert kept == {best["iteration"], ended}


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("-early-stop=accuracy", "early stop 'accuracy': expected METRIC:PATIENCE"),
        ("-early-stop=acuracy:3", "Did you mean 'accuracy'?"),
        ("-keep-best=top5", "metric 'top5': expected an output of a test net ('accuracy', 'loss')"),
    ],
)
def test_options_that_cannot_work_are_refused_before_a_file_is_written(
    run: Run, option: str, wanted: str
) -> None:
    assert_refused(run, wanted, "train", "-solver=s.prototxt", option)


def test_an_empty_snapshot_is_none_as_for_caffe(run: Run) -> None:
    arguments = ("-solver=s.prototxt", "-snapshot=", "-weights=", "-iterations=1", "-engine=numpy")
    status, message = run("train", *arguments)
    assert status == 0, message
    assert Path("s_iter_1.solverstate").is_file()


def test_the_commands_help_has_sections(run: Run) -> None:
    status, text = run("train", "--help")
    assert status == 0
    titles = ["What to train:", "Where to begin:", "Snapshots:", "When to end:", "What to run on:"]
    places = [text.index(title) for title in [*titles, "Other options:"]]
    assert places == sorted(places)
    assert text.count("--early-stop") == 1
