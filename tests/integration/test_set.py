"""--set on the command line: what train, test and time make of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from caffepy.proto import text
from caffepy.proto.caffe_pb2 import NetParameter, SolverParameter
from tests.integration.refusals import Run, assert_refused

V1_NET = """
layers { name: "data" type: HDF5_DATA top: "data" top: "label"
  hdf5_data_param { source: "train.txt" batch_size: 8 } }
layers { name: "ip" type: INNER_PRODUCT bottom: "data" top: "ip" blobs_lr: 1 blobs_lr: 2
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture(autouse=True)
def case(golden: Path, tmp_path: Path) -> Path:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    return tmp_path


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def resolved(phase: str) -> NetParameter:
    return text.read(f"snap_resolved_{phase}.prototxt", NetParameter)


def test_fields_of_solver_and_nets_change(run: Run) -> None:
    values = ("base_lr=0.125", "stepvalue=[7,9]", "net.conv1.param.0.lr_mult=0", "max_iter=1")
    status, message = run(
        "train", "-solver=solver.prototxt", *settings(*values, "net.data@TEST.top.0=data"),
    )  # fmt: skip
    assert status == 0, message
    solver = text.read("snap_resolved_solver.prototxt", SolverParameter)
    assert (solver.base_lr, list(solver.stepvalue), solver.max_iter) == (0.125, [7, 9], 1)
    for phase in ("train", "test0"):
        conv = next(layer for layer in resolved(phase).layer if layer.name == "conv1")
        assert conv.param[0].lr_mult == 0


def test_the_log_shows_the_overridden_values(case: Path, run: Run) -> None:
    _, message = run("train", "-solver=solver.prototxt", "-set=base_lr=0.125", "-set=max_iter=0")
    assert "base_lr: 0.125\n" in message


def test_old_nets_are_overridden_in_todays_form(case: Path, run: Run) -> None:
    (case / "net.prototxt").write_text(V1_NET)
    (case / "s.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "snap"'
    )
    values = settings("net.ip.param.1.lr_mult=9", "net.data.hdf5_data_param.batch_size=3")
    status, message = run("train", "-solver=s.prototxt", *values)
    assert status == 0, message
    net = resolved("train")
    assert (net.layer[1].param[1].lr_mult, net.layer[0].hdf5_data_param.batch_size) == (9, 3)


def test_an_old_solver_type_takes_the_place_of_the_new(run: Run) -> None:
    values = settings("solver_type=NESTEROV")
    _, message = run("train", "-solver=solver.prototxt", *values)
    assert "expected either solver_type" not in message
    assert "Nesterov" in message


def test_a_prefix_that_is_a_folder_is_completed(case: Path, run: Run) -> None:
    (case / "out").mkdir()
    values = settings("snapshot_prefix=out", "max_iter=1")
    assert run("train", "-solver=solver.prototxt", *values)[0] == 0
    assert (case / "out" / "solver_iter_1.caffemodel").is_file()


def test_train_state_can_be_set(case: Path, run: Run) -> None:
    net = (case / "net.prototxt").read_text().replace("bottom: \"pool1\" top: \"pool1\" }", (
        'bottom: "pool1" top: "pool1" include { min_level: 2 } }'
    ))  # fmt: skip
    (case / "net.prototxt").write_text(net)
    values = settings("train_state.level=2", "test_iter=[]", "max_iter=1")
    assert run("train", "-solver=solver.prototxt", *values)[0] == 0
    assert "relu1" in [layer.name for layer in resolved("train").layer]


@pytest.mark.parametrize(
    ("command", "net_field"),
    [
        ("test -model=net.prototxt -weights=init.caffemodel", "net.data.hdf5_data_param"),
        ("test -model=net.prototxt -weights=init.caffemodel", "data.hdf5_data_param"),
        ("time -model=net.prototxt", "data@TRAIN.hdf5_data_param"),
    ],
)
def test_test_and_time_take_net_fields(run: Run, command: str, net_field: str) -> None:
    value = settings(f"{net_field}.batch_size=3")
    status, message = run(*command.split(), "-iterations=1", *value, "-sigint_effect=none")
    assert status == 0, message
    assert "Top shape: 3 2 6 6 (216)" in message


@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        ("train -solver=solver.prototxt -set base_lr", 2, "--set base_lr: expected PATH=VALUE"),
        ("train -solver=solver.prototxt -set base_l=1", 1, "Did you mean 'base_lr'?"),
        ("train -solver=solver.prototxt -set lr_policy=Fixd", 1, "--set lr_policy=Fixd: lr_policy"),
        ("train -solver=solver.prototxt -set net=none", 1, "--set net=none: net: there is no file"),
        ("train -solver=solver.prototxt -set net.fc.type=x", 1, "there is no layer 'fc'. The lay"),
        ("train -solver=solver.prototxt -set net.conv.type=x", 1, "Did you mean 'conv1'?"),
        ("time -model=net.prototxt -set conv.type=x", 1, "--set conv.type=x: there is no layer"),
        (
            "time -model=net.prototxt -set data@TEST.type=x",
            1,
            "with layer 'data', got none in this run",
        ),
    ],
)
def test_what_cannot_be_set_is_refused(run: Run, arguments: str, status: int, wanted: str) -> None:
    assert_refused(run, wanted, *arguments.split(), status=status)
