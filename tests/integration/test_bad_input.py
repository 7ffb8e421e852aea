"""Bad input, end to end: one paragraph with place, reason and remedy; nothing left over."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from caffepy.engine import memory
from caffepy.proto.caffe_pb2 import SolverState
from caffepy.tools import cli
from tests.integration.refusals import Run, assert_refused

INPUT = """layer { name: "in" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
"""
SOLVER = """net: "net.prototxt"
base_lr: 0.01
lr_policy: "fixed"
max_iter: 1
"""


def layer(kind: str, body: str = "", bottom: str = "data") -> str:
    return f'layer {{ name: "x" type: "{kind}" bottom: "{bottom}" top: "y" {body} }}\n'


@pytest.mark.parametrize(
    ("net", "wanted"),
    [
        ("", "net.prototxt: expected a prototxt, got a file that is empty"),
        ('name: "n"', "net 'n': expected at least one layer in phase TRAIN, got none"),
        (
            INPUT.replace("top:", "include { phase: TEST } top:"),
            "expected at least one layer in phase TRAIN, got none",
        ),
        ("<html>404</html>", "net.prototxt:1:1: expected a field name, got '<'. The file looks"),
        (INPUT + layer("ReLU", "frob: 3"), "net.prototxt:3:56: layer 'x': 'frob' is not a field"),
        (
            INPUT + layer("relu"),
            "net.prototxt:3:25: layer 'x': type 'relu' does not exist. Did",
        ),
        (INPUT + layer("CONVOLUTION"), "Did you mean 'Convolution'?"),
        (INPUT + layer("priorbox"), "type 'priorbox' does not exist. Did you mean 'PriorBox'?"),
        (INPUT + layer(""), "net.prototxt:3:25: layer 'x': expected a `type`, got none"),
        (
            INPUT + layer("Proposal"),
            "net.prototxt:3:25: layer 'x': type 'Proposal' is known from the R-FCN fork, not im",
        ),
        (
            INPUT + layer("ReLU", bottom="dta"),
            "bottom 'dta' is made by no layer before this one. D",
        ),
        (INPUT + layer("ReLU", bottom="y"), "'y' is made by no layer before this one. Add that"),
        (
            INPUT + layer("ReLU") * 2,
            "net.prototxt:4: layer 'x' (ReLU): top 'y' is already produced",
        ),
        (INPUT + layer("SoftmaxWithLoss"), "expected 2 bottom blob(s), got 1"),
        (INPUT + layer("Input"), "expected 0 bottom blob(s), got 1. Remove its `bottom:` lines"),
        (INPUT + layer("ReLU", "propagate_down: [true, true]"), "one per bottom (1), got 2. Give"),
        (
            INPUT + layer("ReLU", "loss_weight: [1, 1]"),
            "`loss_weight` or one per top (1), got 2. G",
        ),
        (
            INPUT + layer("Softmax", "softmax_param { axis: 4 }"),
            "softmax_param.axis 4 does not exi",
        ),
        (
            INPUT + layer("Convolution", "convolution_param { num_output: 1 kernel_size: 9 }"),
            "expected at least 9 pixels for a kernel of 9 with dilation 1 and stride 1, got 8",
        ),
        (
            INPUT
            + layer("Convolution", "convolution_param { num_output: 1 kernel_size: 1 group: 0 }"),
            "convolution_param.group: expected at least 1, got 0",
        ),
        (
            INPUT + layer("Pooling", "pooling_param { kernel_size: 11 pad: 1 }"),
            "expected at least 11 pixels for the kernel, got 10 (8 and twice pad 1)",
        ),
        (
            INPUT.replace("dim: 8 dim: 8", "dim: -1"),
            "layer 'in' (Input): blob 'data': expected siz",
        ),
        (INPUT.replace("dim: 8 dim: 8", "dim: 800000 dim: 800000"), "at most 2147483647 elements"),
        (
            INPUT + layer("InnerProduct", "inner_product_param { num_output: 400000000 }"),
            "layer 'x' (InnerProduct): blob 'x.0': expected sizes",
        ),
    ],
)
def test_a_net_that_cannot_be_is_refused(tmp_path: Path, run: Run, net: str, wanted: str) -> None:
    (tmp_path / "net.prototxt").write_text(net)
    assert_refused(run, wanted, "time", "-model", "net.prototxt", "-iterations", "1")


@pytest.mark.parametrize(
    ("encoding", "newline"),
    [("utf-8", "\r\n"), ("utf-8-sig", "\n"), ("utf-16", "\r\n"), ("gbk", "\n"), ("utf-8", "\r")],
)
def test_encodings_and_line_ends_do_not_matter(
    tmp_path: Path, run: Run, encoding: str, newline: str
) -> None:
    text = "# \u5b66\u4e60\n" + INPUT + layer("ReLU")
    (tmp_path / "net.prototxt").write_bytes(text.replace("\n", newline).encode(encoding))
    status, message = run("time", "-model", "net.prototxt", "-iterations", "1")
    assert status == 0, message


def deep(layers: int, width: int) -> str:
    """A net of blobs of 8 GiB each, of which none is the same memory."""
    net = INPUT.replace("dim: 2 dim: 3 dim: 8 dim: 8", f"dim: 64 dim: {width}")
    below = "data"
    for index in range(layers):
        net += f'layer {{ name: "r{index}" type: "ReLU" bottom: "{below}" top: "y{index}" }}\n'
        below = f"y{index}"
    return net


def test_a_net_that_is_larger_than_this_machine_is_refused(tmp_path: Path, run: Run) -> None:
    (tmp_path / "net.prototxt").write_text(deep(600, (1 << 25) - 1))  # 4.7 TiB
    resource = pytest.importorskip("resource")
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wanted = (
        "The largest blobs are blob 'data' of layer 'in' (64, 33554431) with 8.0 GiB, blob 'y0' of "
        "layer 'r0' (64, 33554431) with 8.0 GiB, "
    )
    assert_refused(run, wanted, "time", "-model", "net.prototxt", "-iterations", "1")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started < 1 << 20  # KiB


@pytest.mark.parametrize(
    ("net", "wanted"),
    [
        (
            deep(3, 10_000),
            "Reduce the batch size of layer 'in' from 64 to 26 at the most, 14 to be",
        ),
        (
            INPUT + layer("InnerProduct", "inner_product_param { num_output: 100000 }"),
            "MiB: make the largest smaller (num_output)",
        ),
    ],
)
def test_a_net_that_is_too_large_is_told_what_would_fit(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, net: str, wanted: str
) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 4 << 20)
    (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "s.prototxt").write_text(SOLVER)
    wanted_first = "predicted memory: expected at most 4.0 MiB, all that there is here, got "
    for arguments in (["time", "-model=net.prototxt"], ["train", "-solver=s.prototxt"]):
        assert_refused(run, wanted_first, *arguments)
        assert_refused(run, wanted, *arguments)


def test_too_little_memory_is_no_defect(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 80 GiB")

    monkeypatch.setattr(cli.caffepy, "main", fail)
    assert_refused(run, "not enough memory: Unable to allocate 80 GiB. Use a smaller", "time")


def test_what_the_system_refuses_is_no_defect(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "log")

    monkeypatch.setattr(cli.caffepy, "main", fail)
    assert_refused(run, "'log': No space left on device. Check the path", "time")


# ---- solvers


@pytest.mark.parametrize(
    ("solver", "wanted"),
    [
        (SOLVER.replace('net: "net.prototxt"', ""), "s.prototxt: net: expected exactly one of net"),
        ('base_lr: 1 type: "SGD"', "s.prototxt: net: expected exactly one of net"),
        (SOLVER + 'train_net: "n"', "s.prototxt:5:1: train_net: expected exactly one of"),
        (
            SOLVER.replace("net.prototxt", ""),
            "s.prototxt:1:1: net: expected the path of a prototxt",
        ),
        (SOLVER.replace("net.proto", "gone.proto"), "net: there is no file 'gone.prototxt'. Fix"),
        (
            SOLVER.replace("net:", "train_net:") + 'test_net: "net.prototxt"',
            "s.prototxt: test_iter: expected one for each test net (1), got 0",
        ),
        (
            SOLVER + "test_iter: 0 test_interval: 1",
            "s.prototxt:5:1: test_iter: expected at least 1",
        ),
        (SOLVER + "test_iter: 1", "test_interval: expected at least 1"),
        (SOLVER.replace("fixed", "step"), "stepsize: lr_policy 'step' needs it"),
        (SOLVER.replace("fixed", "poly"), "power: lr_policy 'poly' needs it"),
        (
            SOLVER.replace("fixed", "poly").replace("max_iter: 1", "power: 1"),
            "s.prototxt: max_iter: lr_policy 'poly' needs it: expected a value, got none. Set it",
        ),
        (SOLVER.replace("0.01", "nan"), "s.prototxt:2:1: base_lr: expected a finite number, got n"),
        (SOLVER.replace("fixed", "Fixd"), "'Fixd'. Did you mean 'fixed'?"),
        (SOLVER + 'type: "Magic"', "s.prototxt:5:1: type: expected one of"),
        (SOLVER + 'type: "adam"', "Did you mean 'Adam'?"),
        (
            SOLVER + 'type: "SGD" solver_type: SGD',
            "s.prototxt: solver: expected either solver_type",
        ),
        (SOLVER + "foo: 1", "s.prototxt:5:1: 'foo' is not a field of SolverParameter. Remove it"),
        (SOLVER + 'snapshot: 1 snapshot_prefix: "no/x"', "folder 'no' does not exist. Make it"),
        (SOLVER + 'snapshot_prefix: "no/x"', "folder 'no' does not exist. Make it first"),
        (SOLVER + 'weights: "none.caffemodel"', "none.caffemodel: there is no such file. Fix"),
        (INPUT, "s.prototxt:1:1: 'layer' is not a field of SolverParameter. It belongs to a net"),
    ],
)
def test_a_solver_that_cannot_work_is_refused(
    golden: Path, tmp_path: Path, run: Run, solver: str, wanted: str
) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    (tmp_path / "s.prototxt").write_text(solver)
    assert_refused(run, wanted, "train", "-solver", "s.prototxt", "-engine", "numpy")


@pytest.mark.parametrize(
    ("net", "learns"),
    [
        (INPUT + layer("InnerProduct", "inner_product_param { num_output: 2 }"), False),
        (
            INPUT
            + layer("InnerProduct", "inner_product_param { num_output: 2 }")
            + 'layer { name: "z" type: "EuclideanLoss" bottom: "y" bottom: "y" top: "loss" }',
            True,
        ),
    ],
)
def test_a_net_that_learns_nothing_is_warned_of(
    tmp_path: Path, run: Run, net: str, learns: bool
) -> None:
    (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "s.prototxt").write_text(SOLVER)
    status, text = run("train", "-solver=s.prototxt")
    assert status == 0
    warning = "expected parameters that learn under a loss, got none: nothing is learnt. Add a"
    assert (warning in text) != learns
    (tmp_path / "s.prototxt").write_text(SOLVER.replace("base_lr: 0.01", ""))
    status, text = run("train", "-solver=s.prototxt")
    assert status == 0
    assert "s.prototxt: base_lr: expected a learning rate, got 0: nothing is learnt. Set" in text


# ---- weights and snapshots


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (lambda data: b"", "expected a .caffemodel, got an empty file"),
        (lambda data: b"not weights", "expected a .caffemodel, got a text file"),
        (lambda data: data[: len(data) // 2], "The file is cut off or damaged: fetch it again"),
        (lambda data: data[:-1], "layer 'ip1', blob 1: expected 48 bytes"),
        (gzip.compress, "got a gzip file: unpack it first"),
        (lambda data: b"\x89HDF\r\n\x1a\n" + bytes(99), "cannot be read as HDF5"),
        (
            lambda data: data.replace(b"conv1", b"convX").replace(b"ip1", b"ipX"),
            "expected layers of",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    golden: Path, tmp_path: Path, run: Run, spoil: Callable[[bytes], bytes], wanted: str
) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    weights = spoil((tmp_path / "init.caffemodel").read_bytes())
    if "expected layers" in wanted:
        net = (tmp_path / "net.prototxt").read_text().replace('name: "', 'name: "my_')
        (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "w.caffemodel").write_bytes(weights)
    assert_refused(run, wanted, "test", "-model=net.prototxt", "-weights=w.caffemodel")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (
            "num_output: 5",
            "num_output: 7",
            "layer 'conv1', blob 0: expected shape (7, 2, 3, 3), as the net has, got (5, 2, 3, 3).",
        ),
        (
            "param { lr_mult: 2 decay_mult: 0 } convolution_param {",
            "convolution_param { bias_term: false",
            "layer 'conv1': expected 1 blob(s), as the net has, got 2. Rename",
        ),
    ],
)
def test_weights_of_another_net_are_refused(
    golden: Path, tmp_path: Path, run: Run, old: str, new: str, wanted: str
) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    net = (tmp_path / "net.prototxt").read_text()
    (tmp_path / "net.prototxt").write_text(net.replace(old, new))
    for option in ("-weights=init.caffemodel", "-snapshot=snap_iter_3.solverstate"):
        assert_refused(run, wanted, "train", "-solver=solver.prototxt", option)


def test_the_history_of_another_solver_type_is_refused(
    golden: Path, tmp_path: Path, run: Run
) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    state = SolverState.FromString((tmp_path / "snap_iter_3.solverstate").read_bytes())
    state.history.extend(list(state.history))  # two of each parameter, as Adam keeps them
    (tmp_path / "adam.solverstate").write_bytes(state.SerializeToString())
    wanted = "adam.solverstate: history: expected 4 blobs (1 for each of 4 parameters of a net"
    assert_refused(run, wanted, "train", "-solver=solver.prototxt", "-snapshot=adam.solverstate")


def test_the_state_of_another_solver_type_is_refused(
    golden: Path, tmp_path: Path, run: Run
) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    solver = (tmp_path / "solver.prototxt").read_text().replace('"snap"', '"mine"')
    (tmp_path / "s.prototxt").write_text(solver)
    assert run("train", "-solver=s.prototxt")[0] == 0
    (tmp_path / "s.prototxt").write_text(solver + 'type: "Nesterov"')  # as many blobs of history
    wanted = "mine_iter_3.solverstate: expected the state of a solver of type Nesterov, got one of"
    assert_refused(run, wanted, "train", "-solver=s.prototxt", "-snapshot=mine_iter_3.solverstate")


@pytest.mark.parametrize("option", ["-snapshot", "-weights"])
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "garbage",
            "garbage: byte 0: expected a field, got wire type 7. The file is damaged, or of",
        ),
        (".", ".: cannot be read: Is a directory. Name a file that may be read."),
    ],
)
def test_what_is_no_weights_file_is_refused(
    golden: Path, tmp_path: Path, run: Run, option: str, name: str, wanted: str
) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    (tmp_path / "garbage").write_bytes(b"\x7fELF" + bytes(99))
    assert_refused(run, wanted, "train", "-solver=solver.prototxt", f"{option}={name}")


@pytest.mark.parametrize(
    ("size", "wanted"), [(0, "expected a .solverstate"), (5, "cut off"), (500, "cut off")]
)
def test_a_truncated_snapshot_is_refused(
    golden: Path, tmp_path: Path, run: Run, size: int, wanted: str
) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    state = tmp_path / "snap_iter_3.solverstate"
    state.write_bytes(state.read_bytes()[:size])
    assert_refused(run, wanted, "train", "-solver=solver.prototxt", f"-snapshot={state.name}")


def test_a_run_with_nothing_left_to_do_says_so(golden: Path, tmp_path: Path, run: Run) -> None:
    shutil.copytree(golden / "formats" / "cli", tmp_path, dirs_exist_ok=True)
    solver = (tmp_path / "solver.prototxt").read_text().replace("max_iter: 6", "max_iter: 3")
    (tmp_path / "solver.prototxt").write_text(solver)
    status, text = run("train", "-solver=solver.prototxt", "-snapshot=snap_iter_3.solverstate")
    assert status == 0
    assert "max_iter: expected more than 3, the iterations done, got 3: nothing is learnt" in text
