"""The newest good snapshot is found; each other one is passed over with its reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, SnapshotError
from caffepy.engine.snapshot import read_snapshot, write_snapshot
from caffepy.engine.solver.newest import resume_newest
from caffepy.engine.solver.snapshot_files import existing_snapshots
from caffepy.engine.solver.solver import Solver
from caffepy.proto.caffe_pb2 import NetParameter
from tests.engine.solver.running import CASES, Settings, make_solver

SOLVER = """
net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" test_iter: 2 test_interval: 4
max_iter: 12 snapshot: 4 snapshot_prefix: "out/snap"
"""
OLD, NEW = Path("out/snap_iter_4.solverstate"), Path("out/snap_iter_8.solverstate")
WEIGHTS = NEW.with_suffix(".caffemodel")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a case of Caffe, and snapshots of iterations 4 and 8."""
    for path in (CASES / "sgd_fixed").iterdir():
        if not path.name.startswith("snap"):
            shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    solver = make_solver(SOLVER)
    solver.step(8)
    solver.close()
    return tmp_path


def newest(solver_text: str = SOLVER, **options: Any) -> Solver:
    Path("solver.prototxt").write_text(solver_text)

    def make(path: Path | None) -> Solver:
        return make_solver(solver_text, resume=path, **options)

    solver = resume_newest(Settings.read("solver.prototxt"), make)
    solver.close()
    return solver


def test_the_newest_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "caffepy")
    solver = newest()
    assert (solver.iteration, solver.resumed_from) == (8, NEW)
    assert f"The newest good snapshot is {NEW}: going on from there." in caplog.text
    assert "Passing over" not in caplog.text


def test_without_any_training_starts_afresh(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "caffepy")
    solver = newest(SOLVER.replace("out/snap", "out/sna"))
    assert (solver.iteration, solver.resumed_from) == (0, None)
    assert "There is no good snapshot out/sna_iter_* to go on from: starting afresh." in (
        caplog.text
    )


def cut() -> None:
    NEW.write_bytes(NEW.read_bytes()[:-5])


def empty() -> None:
    NEW.write_bytes(b"")


def damage() -> None:
    content = bytearray(NEW.read_bytes())
    content[len(content) * 3 // 4] ^= 1  # in the history
    NEW.write_bytes(content)


def lose_weights() -> None:
    WEIGHTS.unlink()


def cut_weights() -> None:
    WEIGHTS.write_bytes(WEIGHTS.read_bytes()[:-5])


def exchange_weights() -> None:
    shutil.copy(OLD.with_suffix(".caffemodel"), WEIGHTS)


def change(edit: Callable[[Any], None]) -> None:
    state = read_snapshot(NEW)
    edit(state)
    write_snapshot(state, NEW)


def make_adam() -> None:
    """As Caffe writes it, without a word about the solver type."""

    def edit(state: Any) -> None:
        state.history, state.extra = state.history * 2, {}

    change(edit)


def make_other_shape() -> None:
    change(lambda state: state.history.__setitem__(0, np.zeros((5, 5), np.float32)))


def make_other_type() -> None:
    change(lambda state: state.extra.update(solver_type="Nesterov"))


def make_caffes_with_cut_weights() -> None:
    """Without a hash; the weights end where a layer ends, so that they read well."""
    change(lambda state: state.extra.clear())
    layers = NetParameter.FromString(WEIGHTS.read_bytes())
    del layers.layer[-3:]
    WEIGHTS.write_bytes(layers.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cut, "The file is cut off or damaged: fetch it again."),
        (empty, "expected a .solverstate, got a file without an iteration"),
        (damage, "the file is cut off or damaged"),
        (lose_weights, "its weights 'out/snap_iter_8.caffemodel' are neither there nor beside it"),
        (cut_weights, "expected the file that was written with this state, got another one"),
        (exchange_weights, "expected the file that was written with this state, got another one"),
        (make_adam, "history: expected 4 blobs (1 for each of 4 parameters"),
        (make_other_shape, "history 0: expected shape"),
        (make_other_type, "expected the state of a solver of type SGD, got one of Nesterov."),
        (
            make_caffes_with_cut_weights,
            "its weights do not fit: out/snap_iter_8.caffemodel: expected the weights of every "
            "layer of net 'mlp', got none of 'ip2'",
        ),
    ],
)
def test_what_is_not_good_is_passed_over(
    spoil: Callable[[], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil()
    caplog.set_level("WARNING", "caffepy")
    assert newest().iteration == 4
    warning = next(message for message in caplog.messages if message.startswith("Passing over"))
    assert warning.startswith(f"Passing over a snapshot: {NEW}: ")
    assert reason in warning
    with pytest.raises(SnapshotError, match=str(NEW)):
        make_solver(SOLVER, resume=NEW)  # named by the user, it is an error


def test_a_snapshot_beyond_max_iter_is_of_another_training(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert newest(SOLVER.replace("max_iter: 12", "max_iter: 7")).iteration == 4
    assert "expected at most max_iter, which is 7, as its iteration, got 8." in caplog.text
    assert newest(SOLVER.replace("max_iter: 12", "max_iter: 8")).iteration == 8


def test_where_all_are_bad_training_starts_afresh(caplog: pytest.LogCaptureFixture) -> None:
    for path in (OLD, NEW):
        path.write_bytes(b"")
    assert newest().iteration == 0
    assert caplog.text.count("Passing over a snapshot") == 2


def test_a_snapshot_that_does_not_fit_leaves_the_solver_as_it_was() -> None:
    make_other_shape()
    solver = make_solver(SOLVER)
    before = [one.blob.data.read().copy() for one in solver.net.parameters.learnable]
    with pytest.raises(SnapshotError, match="history 0: expected shape"):
        solver.restore(NEW)
    for one, weights in zip(solver.net.parameters.learnable, before, strict=True):
        np.testing.assert_array_equal(one.blob.data.read(), weights)
    assert all(not value.read().any() for value in solver.rule.history)
    assert solver.iteration == 0
    solver.close()


def test_data_that_changed_are_no_reason_to_start_afresh() -> None:
    change(lambda state: state.extra["nets"][0]["layers"]["data"].update(file=7))
    with pytest.raises(DataError, match="Resume with the files that the snapshot was made with"):
        newest()


def test_the_seed_of_the_one_that_is_taken_counts() -> None:
    make_other_type()
    expected = read_snapshot(OLD).extra["seed"]
    change(lambda state: state.extra.update(seed=expected + 1))
    assert newest().seed == expected


def test_both_formats_are_looked_at_and_the_later_file_wins() -> None:
    solver = make_solver(SOLVER + "snapshot_format: HDF5", resume=NEW)
    solver.snapshot()
    solver.close()
    hdf5 = NEW.with_name("snap_iter_8.solverstate.h5")
    os.utime(NEW, ns=(10**18, 10**18))
    assert newest().resumed_from == hdf5
    os.utime(hdf5, ns=(10**17, 10**17))
    assert newest().resumed_from == NEW


def test_only_states_of_the_prefix_count() -> None:
    for name in (
        "snap_iter_9.solverstate.123.part",
        "snap_iter_09.solverstate",
        "snap_iter_9.solverstate.h5.bak",
        "snap_iter_-9.solverstate",
        "snap_9.solverstate",
        "big_snap_iter_9.solverstate",
        "snap_iter_9.caffemodel",
    ):
        Path("out", name).touch()
    Path("out/snap_iter_10.solverstate").mkdir()
    assert [one.iteration for one in existing_snapshots("out/snap")] == [4, 8]
    assert [one.iteration for one in existing_snapshots("out/snap*")] == []
    assert existing_snapshots("nowhere/snap") == []
