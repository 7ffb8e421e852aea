"""What a solver's prototxt may say: nets, tests, modes, and where errors point."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffepy.engine.core.errors import CaffepyError, DeviceError, PrototxtError
from caffepy.engine.solver import sources
from caffepy.engine.solver.settings import Settings
from caffepy.proto.caffe_pb2 import TEST, TRAIN
from tests.engine.solver.running import make_solver, text_settings

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "data" top: "loss" }
"""
RATE = 'base_lr: 1 lr_policy: "fixed" max_iter: 1 random_seed: 1 '


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    return tmp_path


@pytest.mark.parametrize(
    ("solver_text", "message"),
    [
        ("", "solver: net: expected exactly one of net, net_param, .*got none"),
        (
            'net: "net.prototxt" train_net: "b"',
            "train_net: expected exactly one .*net and train_net",
        ),
        ('net: "gone.prototxt"', r"net: there is no file 'gone\.prototxt'"),
    ],
)
def test_exactly_one_train_net_must_exist(solver_text: str, message: str) -> None:
    with pytest.raises(PrototxtError, match=message):
        sources.train_source(text_settings(solver_text))


@pytest.mark.parametrize(
    ("solver_text", "message"),
    [
        ('train_net: "net.prototxt" test_net: "net.prototxt"', r"test_iter: .*\(1\), got 0"),
        ('train_net: "net.prototxt" test_iter: 3', r"test_iter: .*\(0\), got 1"),
        ('net: "net.prototxt" test_iter: 1', "test_interval: expected at least 1"),
        (
            'net: "net.prototxt" test_iter: 1 test_interval: 1 test_state { } test_state { }',
            r"test_state: expected none or one for each test net \(1\), got 2",
        ),
    ],
)
def test_tests_must_fit_the_number_of_test_nets(solver_text: str, message: str) -> None:
    with pytest.raises(PrototxtError, match=message):
        sources.test_sources(text_settings(solver_text))


def test_test_nets_are_those_of_messages_then_of_files_then_the_general_one() -> None:
    found = sources.test_sources(
        text_settings(
            'net: "net.prototxt" test_net: "net.prototxt" test_net_param { name: "inside" } '
            "test_iter: 1 test_iter: 1 test_iter: 1 test_iter: 1 test_interval: 2"
        )
    )
    assert [source.label for source in found] == [
        "specified by test_net_param",
        "specified by test_net file: net.prototxt",
        "specified by net file: net.prototxt",
        "specified by net file: net.prototxt",
    ]
    assert found[0].param.name == "inside"


def test_the_state_is_the_phase_then_that_of_the_net_then_that_of_the_solver() -> None:
    Path("net.prototxt").write_text(NET + 'state { level: 2 stage: "net" }')
    settings = text_settings(
        'net: "net.prototxt" train_state { stage: "solver" } '
        "test_state { level: 5 } test_iter: 1 test_interval: 1"
    )
    train = sources.train_source(settings).state
    assert (train.phase, train.level, list(train.stage)) == (TRAIN, 2, ["net", "solver"])
    test = sources.test_sources(settings)[0].state
    assert (test.phase, test.level, list(test.stage)) == (TEST, 5, ["net"])


def test_a_relative_net_is_looked_for_beside_the_solver_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "solver.prototxt").write_text('net: "net.prototxt"')
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    source = sources.train_source(Settings.read("../solver.prototxt"))
    assert source.param.name == "tiny"
    assert Path("..") in source.folders


def test_a_net_may_stand_in_the_solver_itself() -> None:
    solver = make_solver(f"net_param {{ {NET} }} {RATE}")
    assert solver.net.name == "tiny"


@pytest.mark.parametrize(
    ("solver_text", "message"),
    [
        ('type: "Magic"', r"solver\.prototxt:1:\d+: type: expected one of .*SGD, got 'Magic'"),
        ('type: "sgd"', "got 'sgd'. Did you mean 'SGD'?"),
        ("average_loss: 0", "average_loss: expected at least 1, got 0"),
        ("iter_size: 0", "iter_size: expected at least 1, got 0"),
        ("clip_gradients: nan", "clip_gradients: expected a number, got nan"),
        ("stagelr: 1 stagelr: nan", "stagelr: expected a number, got nan"),
        ("momentum: inf", "momentum: expected a finite number, got inf"),
        ('regularization_type: "L3"', "regularization_type: expected one of L1, L2, got 'L3'"),
        ('snapshot: 5 snapshot_prefix: "gone/a"', "snapshot_prefix: folder 'gone' does not exist"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_file_and_line(
    solver_text: str, message: str
) -> None:
    with pytest.raises(PrototxtError, match=message):
        make_solver(f'{solver_text} net: "net.prototxt" {RATE}')


def test_snapshots_need_a_prefix_where_no_file_gives_one() -> None:
    with pytest.raises(PrototxtError, match="snapshot_prefix: expected one, since snapshot is 5"):
        text_settings("snapshot: 5").check()


def test_the_folder_of_the_last_snapshot_is_checked_before_training() -> None:
    solver = make_solver(f'net: "net.prototxt" snapshot_prefix: "gone/a" {RATE}')
    with pytest.raises(PrototxtError, match="folder 'gone' does not exist"):
        solver.solve()


def test_gpu_mode_is_refused_unless_the_caller_chose_the_device() -> None:
    text = f'net: "net.prototxt" solver_mode: GPU {RATE}'
    with pytest.raises(DeviceError, match=r"solver_mode: expected an engine on a GPU, got numpy"):
        make_solver(text)
    make_solver(text, honour_mode=False)
    make_solver(f'net: "net.prototxt" {RATE}')  # GPU is only the default of the field


def test_a_seed_that_is_not_given_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "caffepy")
    solver = make_solver('net: "net.prototxt" base_lr: 1 lr_policy: "fixed"')
    assert f"Random seed: {solver.seed}" in caplog.text
    assert solver.net.context.seed == solver.seed


def test_every_error_belongs_to_one_family() -> None:
    with pytest.raises(CaffepyError):
        Settings.read("nowhere.prototxt")
