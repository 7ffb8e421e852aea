"""Snapshots: a resumed run is the unbroken one, bit by bit; what cannot be resumed is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine import files
from caffepy.engine.core.errors import CaffepyError, SaveError, SnapshotError
from caffepy.engine.ops.base import Ops
from caffepy.engine.snapshot import (
    Snapshot,
    read_learned_net,
    read_snapshot,
    write_snapshot,
)
from caffepy.engine.solver.callbacks import Callback, Training
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
    """The lines from the first iteration on, without speeds, and without those of graphs, which
    each run makes anew."""
    start = next(place for place, line in enumerate(lines) if line.startswith("Learning Rate"))
    said = [line for line in lines[start + 1 :] if not line.startswith("Net '")]
    return [SPEED.sub("", line) for line in said]


def test_a_layer_whose_state_is_not_in_the_snapshot_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_solver(settings())
    net = Path("net.prototxt").read_text()
    Path("net.prototxt").write_text(net.replace('name: "data"', 'name: "renamed"'))
    run_solver(settings(), resume="snap_iter_6.solverstate")
    warned = [line for line in caplog.messages if "expected its state in the snapshot" in line]
    assert warned
    assert all("layer 'renamed' (HDF5Data)" in line for line in warned)


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
        (b'net: "net.prototxt"\n', r"expected a \.solverstate, got a text file: give the binary"),
        (SolverState(iter=3, caffepy_state=b"{").SerializeToString(), "cut off or damaged"),
    ],
)
def test_a_file_that_is_no_state_is_refused(content: bytes | None, message: str) -> None:
    if content is not None:
        Path("bad.solverstate").write_bytes(content)
    with pytest.raises(CaffepyError, match=message):
        read_snapshot(Path("bad.solverstate"))


def test_a_state_that_is_cut_off_anywhere_is_refused() -> None:
    write_snapshot(Snapshot(7, "w", 2, [np.ones(3, np.float32)], {"seed": 1}), Path("whole"))
    content = Path("whole").read_bytes()
    for length in range(len(content)):
        Path("cut").write_bytes(content[:length])
        with pytest.raises(CaffepyError):
            read_snapshot(Path("cut"))


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_damaged_state_is_refused_or_read_as_it_was(hdf5: bool) -> None:
    state = Snapshot(7, "w", 2, [np.ones(3, np.float32)], {"seed": 1})
    write_snapshot(state, Path("whole"), hdf5=hdf5)
    content, random = Path("whole").read_bytes(), np.random.default_rng(0)
    for place in random.integers(len(content), size=300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(random.integers(8))
        Path("damaged").write_bytes(damaged)
        try:
            found = read_snapshot(Path("damaged"))
        except CaffepyError:
            continue
        if found.extra:  # else it counts as one of Caffe's, which nothing protects
            np.testing.assert_equal(vars(found), vars(state))


def test_a_path_that_is_no_text_is_read() -> None:
    Path("s").write_bytes(b"\x08\x03\x12\x02\xffx")  # Caffe wrote it on a system of Latin-1
    assert read_snapshot(Path("s")).learned_net == "\ufffdx"


@pytest.mark.parametrize("hdf5", [False, True])
def test_the_name_of_the_weights_is_read_alone(hdf5: bool) -> None:
    write_snapshot(Snapshot(7, "w", 2, [np.ones(3)], {"seed": 1}), Path("s"), hdf5=hdf5)
    assert read_learned_net(Path("s")) == "w"
    Path("s").write_bytes(b"")
    with pytest.raises(SnapshotError, match="s: cannot be read"):
        read_learned_net(Path("s"))


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


class Unplug(Callback):
    """Takes the snapshots' folder away during some iterations."""

    def __init__(self, gone: range) -> None:
        self.gone = gone

    def on_updated(self, solver: Training) -> None:
        away = solver.iteration in self.gone
        if away and Path("out").exists():
            Path("out").rename("unplugged")
        elif not away and Path("unplugged").exists():
            Path("unplugged").rename("out")


UNPLUGGED = SOLVER.replace("snapshot: 6", "snapshot: 2").replace('"snap"', '"out/snap"')


def test_training_goes_on_where_a_snapshot_fails(caplog: pytest.LogCaptureFixture) -> None:
    Path("out").mkdir()
    make_solver(UNPLUGGED, callbacks=[Unplug(range(4, 8))]).solve()
    assert sorted(path.name for path in Path("out").glob("*.solverstate")) == [
        f"snap_iter_{iteration}.solverstate" for iteration in (10, 12, 2, 8)
    ]
    warnings = [message for message in caplog.messages if "cannot be written" in message]
    assert warnings == [
        f"out/snap_iter_{iteration}.caffemodel: cannot be written: No such file or directory. "
        "Check the folder, its rights and the free space. Training goes on without this snapshot; "
        "the last one is 'out/snap_iter_2.solverstate'. Choose --on-snapshot-error stop to end it "
        "instead."
        for iteration in (4, 6)
    ]


def test_training_stops_there_where_that_is_asked_for() -> None:
    Path("out").mkdir()
    solver = make_solver(UNPLUGGED, callbacks=[Unplug(range(4, 8))], on_snapshot_error="stop")
    with pytest.raises(SaveError, match=r"lost; the last one is 'out/snap_iter_2"):
        solver.solve()
    assert solver.iteration == 4


@pytest.mark.parametrize("more", ["", "snapshot_after_train: false"])
def test_weights_are_never_lost_silently(more: str) -> None:
    """Whether the last snapshot is that of the last iteration or the one after training."""
    Path("out").mkdir()
    with pytest.raises(SaveError, match=r"out/snap_iter_12.caffemodel: cannot be written"):
        make_solver(UNPLUGGED + more, callbacks=[Unplug(range(12, 13))]).solve()


def test_a_state_of_another_solver_type_is_refused() -> None:
    run_solver(settings())
    state = read_snapshot(Path("snap_iter_6.solverstate"))
    assert state.extra["solver_type"] == "SGD"
    state.extra["solver_type"] = "Adam"
    write_snapshot(state, Path("adam.solverstate"))
    with pytest.raises(SnapshotError, match=r'got one of Adam\. Set type: "Adam" in'):
        make_solver(SOLVER, resume="adam.solverstate")


def test_what_a_killed_run_left_is_cleared_away_when_the_next_begins() -> None:
    dead = [f"snap_{name}.{1 << 70}.part" for name in ("iter_6.caffemodel", "best.json")]
    others = [f"{name}.{1 << 70}.part" for name in ("snip_iter_6.caffemodel", "snap_notes.txt")]
    for name in (*dead, *others):
        Path(name).touch()
    run_solver(settings())
    assert sorted(path.name for path in Path().glob("*.part")) == sorted(others)
