"""What a run writes about itself: it trains the same again, and nobody's file is overwritten."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.solver.run_records import RunRecords, takes_snapshots
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import NetParameter, SolverParameter
from caffepy.proto.overrides import Override
from tests.engine.solver.running import CASES

NET = """
name: "net"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
  hdf5_data_param { source: "train.txt" batch_size: 7 shuffle: true } }
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TEST stage: "a" }
  hdf5_data_param { source: "train.txt" batch_size: 5 } }
layer { name: "data" type: "HDF5Data" top: "data" top: "label"
  include { phase: TEST min_level: 2 not_stage: "a" }
  hdf5_data_param { source: "train.txt" batch_size: 6 } }
layer { name: "drop" type: "Dropout" bottom: "data" top: "drop" exclude { phase: TEST stage: "a" } }
layer { name: "drop" type: "Power" bottom: "data" top: "drop" include { stage: "a" } }
layer { name: "ip" type: "InnerProduct" bottom: "drop" top: "ip" param { } param { lr_mult: 2 }
  inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" max_iter: 4 snapshot: 2
test_iter: 2 test_iter: 1 test_interval: 2 test_state { stage: "a" } test_state { level: 2 }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in (CASES / "sgd_fixed").glob("train.*"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    return tmp_path


def train(
    path: str, ops: Ops | None = None, overrides: tuple[str, ...] = (), **options: Any
) -> Solver:
    settings = Settings.read(path).overridden([Override.parse(one) for one in overrides])
    settings.param.train_state.level = 0  # as the command line does
    records = RunRecords(["caffepy", "train"], 2)
    solver = Solver(
        settings, ops=ops or NumpyOps(), registry=LAYERS, callbacks=[records], **options
    )
    solver.solve()
    solver.close()
    return solver


def arrays(solver: Solver) -> list[np.ndarray]:
    """Parameters and history."""
    parameters = [one.blob.data for one in solver.net.parameters.learnable]
    return [value.read().copy() for value in (*parameters, *solver.rule.history)]


def test_the_resolved_files_train_to_the_same_weights(ops: Ops) -> None:
    Path("s.prototxt").write_text(SOLVER + 'snapshot_prefix: "a"')
    first = train("s.prototxt", ops, ("net.ip.param.0.lr_mult=3", "base_lr=0.1"))
    written = {path: path.read_bytes() for path in Path().glob("a_resolved*")}
    second = train("a_resolved_solver.prototxt", ops)
    for one, other in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {path: path.read_bytes() for path in Path().glob("a_resolved*")} == written


def test_the_resolved_nets_are_as_built_and_readable() -> None:
    Path("s.prototxt").write_text(SOLVER + 'snapshot_prefix: "a"')
    train("s.prototxt")
    sizes = []
    for name in ("train", "test0", "test1"):
        path = Path(f"a_resolved_{name}.prototxt")
        assert path.read_text().startswith("# Written by caffepy ")
        net = text.read(path, NetParameter)
        assert not any(layer.include or layer.exclude for layer in net.layer)
        assert not any(layer.type == "Split" for layer in net.layer)
        assert "source_" not in path.read_text()
        sizes.append((net.layer[0].hdf5_data_param.batch_size, net.layer[1].type))
    assert sizes == [(7, "Dropout"), (5, "Power"), (6, "Dropout")]
    solver = text.read("a_resolved_solver.prototxt", SolverParameter)
    assert solver.train_net == "a_resolved_train.prototxt"
    assert list(solver.test_net) == ["a_resolved_test0.prototxt", "a_resolved_test1.prototxt"]
    assert solver.random_seed >= 0  # the one that was drawn


def test_the_run_says_what_it_was(folder: Path) -> None:
    Path("s.prototxt").write_text(SOLVER + 'snapshot_prefix: "a" random_seed: 5')
    train("s.prototxt", overrides=("base_lr=0.1",))
    found = json.loads(Path("a_run.json").read_text())
    assert found["caffepy"].startswith("Written by caffepy ")
    assert (found["engine"], found["onednn"], found["threads"]) == ("numpy", None, 2)
    assert (found["seed"], found["set"]) == (5, ["base_lr=0.1"])
    assert found["command_line"] == ["caffepy", "train"]
    assert found["working_directory"] == os.getcwd()
    assert (found["resumed_from"], found["iteration"]) == (None, 0)
    assert all(found[key] for key in ("python", "numpy", "protobuf", "started"))
    inputs = {entry["path"]: entry["sha256"] for entry in found["inputs"]}
    assert set(inputs) == {"s.prototxt", "net.prototxt", "train.txt"}
    assert inputs["net.prototxt"] == hashlib.sha256(NET.encode()).hexdigest()
    train("s.prototxt", resume="a_iter_2.solverstate")
    found = json.loads(Path("a_run.json").read_text())
    assert (found["resumed_from"], found["iteration"]) == ("a_iter_2.solverstate", 2)
    assert "a_iter_2.solverstate" in [entry["path"] for entry in found["inputs"]]


def test_files_beside_the_prototxts_are_found_again_from_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("list.h5.txt").write_text(f"{folder / 'train.h5'}\n")
    Path("net.prototxt").write_text(NET.replace("train.txt", "list.h5.txt"))
    Path("s.prototxt").write_text(SOLVER + 'snapshot_prefix: "a"')
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")
    train("../s.prototxt")
    net = text.read("a_resolved_train.prototxt", NetParameter)
    assert net.layer[0].hdf5_data_param.source == "../list.h5.txt"
    train("a_resolved_solver.prototxt")


def test_a_file_of_the_users_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    Path("s.prototxt").write_text(SOLVER + 'snapshot_prefix: "a"')
    names = ["a_resolved_solver.prototxt", "a_resolved_train.prototxt", "a_run.json"]
    for name in names:
        Path(name).write_text("# mine\n")
    train("s.prototxt")
    for name in names:
        assert Path(name).read_text() == "# mine\n"
        assert f"{name}: expected a file that caffepy wrote, or none, got another one" in (
            caplog.text
        )
    assert Path("a_resolved_test0.prototxt").is_file()


def test_a_record_that_cannot_be_written_does_not_stop_the_training(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Path("s.prototxt").write_text(SOLVER + 'snapshot_prefix: "a"')
    Path("a_run.json").mkdir()
    assert train("s.prototxt").iteration == 4
    assert "a_run.json: cannot be written: Is a directory" in caplog.text


@pytest.mark.parametrize(
    ("solver", "wanted"),
    [
        ('snapshot: 3 snapshot_prefix: "a"', True),
        ('snapshot_prefix: "a"', True),  # after training
        ('snapshot_after_train: false snapshot_prefix: "a"', False),
        ("snapshot: 3", False),
    ],
)
def test_records_go_where_snapshots_go(solver: str, wanted: bool) -> None:
    assert takes_snapshots(text.parse(solver, SolverParameter)) is wanted
