"""Snapshots: a resumed run is the unbroken one, bit by bit; what cannot be resumed is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine import files
from caffepy.engine.core.errors import CaffepyError, SnapshotError
from caffepy.engine.ops.base import Ops
from caffepy.engine.snapshot import Snapshot, read_snapshot, write_snapshot
from caffepy.engine.solver.callbacks import Callback, History, TestResult, Training
from caffepy.proto.caffe_pb2 import SolverState
from tests.engine.solver.running import CASES, SPEED, Settings, make_solver, run_solver

# 32 rows in batches of 7: at iteration 6 a data layer stands in the middle of an epoch.
SOLVER = """
net: "net.prototxt" base_lr: 0.05 momentum: 0.9 weight_decay: 0.005 lr_policy: "multistep"
gamma: 0.5 stepvalue: 3 stepvalue: 8 test_iter: 2 test_interval: 4 max_iter: 12 display: 1
average_loss: 4 iter_size: 2 snapshot: 6 snapshot_prefix: "snap"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(CASES / "sgd_fixed", tmp_path, dirs_exist_ok=True)
    for old in tmp_path.glob("snap_*"):
        old.unlink()
    monkeypatch.chdir(tmp_path)
    net = Path("net.prototxt").read_text()
    net = net.replace("batch_size: 8", "batch_size: 7 shuffle: true")
    Path("net.prototxt").write_text(net)
    return tmp_path


def settings(more: str = "random_seed: 3") -> Settings:
    Path("solver.prototxt").write_text(SOLVER + more)
    return Settings.read("solver.prototxt")


def solving(lines: list[str]) -> list[str]:
    """The lines from the first iteration on, without speeds."""
    start = next(place for place, line in enumerate(lines) if line.startswith("Learning Rate"))
    return [SPEED.sub("", line) for line in lines[start + 1 :]]


@pytest.mark.parametrize(
    ("more", "ending"),
    [
        ("random_seed: 3", ""),
        ("random_seed: 3 snapshot_format: HDF5", ".h5"),
        ("", ""),  # the seed comes from the snapshot
    ],
)
def test_a_resumed_run_is_bit_equal_to_an_unbroken_one(more: str, ending: str, ops: Ops) -> None:
    whole = run_solver(settings(more), ops=ops)
    expected = read_snapshot(Path(f"snap_iter_12.solverstate{ending}"))
    weights = Path(f"snap_iter_12.caffemodel{ending}").read_bytes()
    resumed = run_solver(settings(more), ops=ops, resume=f"snap_iter_6.solverstate{ending}")
    found = read_snapshot(Path(f"snap_iter_12.solverstate{ending}"))
    for ours, theirs in zip(found.history, expected.history, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found.extra["nets"] == expected.extra["nets"]
    assert found.extra["losses"] == expected.extra["losses"]
    if not ending:  # HDF5 files hold the time of their making
        assert Path("snap_iter_12.caffemodel").read_bytes() == weights
    lines = solving(resumed.lines)
    assert lines == solving(whole.lines)[-len(lines) :]
    assert lines[0].startswith("Iteration 6")


class AmidTests(Callback):
    """Asks for a snapshot between the tests of the two test nets at iteration 8."""

    def on_tested(self, solver: Training, result: TestResult) -> None:
        if (result.iteration, result.net) == (8, 0):
            solver.request_snapshot()


def test_a_snapshot_amid_tests_leads_to_all_of_them() -> None:
    text, whole, resumed = SOLVER + "random_seed: 3 test_iter: 3", History(), History()
    make_solver(text, callbacks=[AmidTests(), whole]).solve()
    make_solver(text, callbacks=[resumed], resume="snap_iter_8.solverstate").solve()
    assert resumed.tests == [test for test in whole.tests if test.iteration >= 8]
    assert resumed.losses == {place: whole.losses[place] for place in range(8, 12)}


def test_a_solver_made_with_another_seed_warns_when_it_restores(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_solver(settings())
    solver = make_solver(SOLVER + "random_seed: 4")
    solver.restore("snap_iter_6.solverstate")
    assert solver.iteration == 6
    assert "made with random seed 3, this run has 4" in caplog.text


class Counting(Callback):
    """Has a state of its own."""

    def __init__(self) -> None:
        self.count = np.zeros(2)

    def on_updated(self, solver: object) -> None:
        self.count += 1

    def state(self) -> dict[str, np.ndarray]:
        return {"count": self.count}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.count = state["count"]


def test_callbacks_keep_their_state() -> None:
    first, second = Counting(), Counting()
    make_solver(SOLVER + "random_seed: 3", callbacks=[first]).step(6)
    make_solver(SOLVER + "random_seed: 3", callbacks=[second], resume="snap_iter_6.solverstate")
    np.testing.assert_array_equal(second.count, [6, 6])


# ---- where the weights are looked for


def test_the_weights_are_found_beside_the_state(folder: Path) -> None:
    run_solver(settings())
    (folder / "moved").mkdir()
    for name in ("snap_iter_6.caffemodel", "snap_iter_6.solverstate"):
        (folder / name).rename(folder / "moved" / name)
    solver = make_solver(SOLVER + "random_seed: 3", resume="moved/snap_iter_6.solverstate")
    assert solver.iteration == 6


def test_weights_of_another_run_under_the_same_name_are_not_taken(folder: Path) -> None:
    run_solver(settings())
    (folder / "moved").mkdir()
    for name in ("snap_iter_6.caffemodel", "snap_iter_6.solverstate"):
        shutil.copy(folder / name, folder / "moved" / name)
    shutil.copy("snap_iter_12.caffemodel", "snap_iter_6.caffemodel")
    solver = make_solver(SOLVER + "random_seed: 3", resume="moved/snap_iter_6.solverstate")
    assert solver.iteration == 6  # those beside the state are the right ones
    with pytest.raises(SnapshotError, match="expected the file that was written with this state"):
        make_solver(SOLVER, resume="snap_iter_6.solverstate")


def test_missing_weights_are_named() -> None:
    run_solver(settings())
    Path("snap_iter_6.caffemodel").unlink()
    with pytest.raises(SnapshotError, match=r"weights 'snap_iter_6\.caffemodel' are neither there"):
        make_solver(SOLVER, resume="snap_iter_6.solverstate")


# ---- what cannot be resumed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.history.pop(),
            r"history: expected 4 blobs \(1 for each of 4 parameters .* by SGD\), got 3",
        ),
        (
            lambda state: state.history.__setitem__(2, np.zeros((7, 4))),
            r"history 2: expected shape \(4, 7\), that of parameter 0 of layer 'ip2', got \(7, 4\)",
        ),
    ],
)
def test_a_history_that_does_not_fit_the_net_is_refused(change: object, message: str) -> None:
    run_solver(settings())
    state = read_snapshot(Path("snap_iter_6.solverstate"))
    change(state)  # type: ignore[operator]
    write_snapshot(state, Path("bad.solverstate"))
    with pytest.raises(SnapshotError, match=message):
        make_solver(SOLVER, resume="bad.solverstate")


def test_a_history_of_old_four_axis_shapes_fits() -> None:
    run_solver(settings())
    state = read_snapshot(Path("snap_iter_6.solverstate"))
    state.history = [
        array.reshape((1,) * (4 - array.ndim) + array.shape) for array in state.history
    ]
    write_snapshot(state, Path("old.solverstate"))
    assert make_solver(SOLVER, resume="old.solverstate").iteration == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"\x0a\x03net", "expected a .solverstate, got a file without an iteration"),
        (b"\x89HDF\r\n\x1a\n....", "cannot be read as a solver's state"),
        (b"\x08\x06\x1a\xff\x01abc", "cut off or damaged"),
        (SolverState(iter=3, caffepy_state=b"{").SerializeToString(), "caffepy_state: cannot be"),
    ],
)
def test_a_file_that_is_no_state_is_refused(content: bytes | None, message: str) -> None:
    if content is not None:
        Path("bad.solverstate").write_bytes(content)
    with pytest.raises(CaffepyError, match=message):
        read_snapshot(Path("bad.solverstate"))


def test_weights_are_no_state() -> None:
    run_solver(settings("snapshot_format: HDF5"))
    with pytest.raises(SnapshotError, match=r"got an HDF5 file without history and iter"):
        read_snapshot(Path("snap_iter_6.caffemodel.h5"))


@pytest.mark.parametrize("hdf5", [False, True])
def test_plain_values_and_arrays_survive(hdf5: bool) -> None:
    extra = {
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
        "nested": {"key": b"\x00\xff", "number": np.float32(0.5), "list": [1, "two", None]},
    }
    state = Snapshot(7, "wéights", 2, [np.ones((2, 2), np.float32), np.float32(3)], extra)
    write_snapshot(state, Path("s"), hdf5=hdf5)
    found = read_snapshot(Path("s"))
    assert (found.iteration, found.learned_net, found.current_step) == (7, "wéights", 2)
    np.testing.assert_array_equal(found.extra["array"], extra["array"])
    assert found.extra["array"].dtype == np.int16
    assert found.extra["nested"] == extra["nested"]
    assert [np.shape(array) for array in found.history] == [(2, 2), ()]


def test_a_failing_write_leaves_the_old_file_and_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("s").write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(SnapshotError, match="s: cannot be written: No space left on device"):
        write_snapshot(Snapshot(1, "", 0, []), Path("s"))
    assert Path("s").read_bytes() == b"old"
    assert not list(Path().glob("*.part"))
