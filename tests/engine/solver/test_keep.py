"""Keep: the newest snapshots and the best one stay, nothing else of the user's goes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest

from caffepy.engine.core.errors import NetError, PrototxtError
from caffepy.engine.snapshot import read_snapshot, write_snapshot
from caffepy.engine.solver.callbacks import History, StopAfter, TestResult
from caffepy.engine.solver.keep import Keep
from caffepy.engine.solver.metric import Metric
from tests.engine.solver.running import CASES, make_solver

SOLVER = """
net: "net.prototxt" base_lr: 0.05 momentum: 0.9 lr_policy: "fixed" test_iter: 2 test_interval: 4
max_iter: 12 snapshot_prefix: "snap" random_seed: 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in (CASES / "sgd_fixed").iterdir():
        if not path.name.startswith("snap"):
            shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(keep: Keep, more: str = "snapshot: 2", **options: Any) -> History:
    history = History()
    callbacks = [keep, history, *options.pop("callbacks", ())]
    solver = make_solver(SOLVER + more, callbacks=callbacks, **options)
    solver.solve()
    solver.close()
    return history


def states() -> list[int]:
    """The iterations of the snapshots that are there; each is complete."""
    found = [int(path.stem.rsplit("_", 1)[1]) for path in Path().glob("snap_iter_*.solverstate")]
    for iteration in found:
        assert Path(f"snap_iter_{iteration}.caffemodel").is_file()
    return sorted(found)


def note() -> dict[str, Any]:
    return dict(json.loads(Path("snap_best.json").read_text()))


class Scripted(Metric):
    """A metric with the values of a script, by iteration."""

    values: ClassVar[dict[int, float]] = {0: 0.1, 4: 0.5, 8: 0.2, 12: 0.5}

    def value(self, result: TestResult) -> float | None:
        return self.values[result.iteration]


def best() -> Metric:
    return Scripted("accuracy")


@pytest.mark.parametrize(
    ("newest", "expected"), [(0, [2, 4, 6, 8, 10, 12]), (1, [12]), (2, [10, 12])]
)
def test_the_newest_stay(newest: int, expected: list[int]) -> None:
    train(Keep(newest))
    assert states() == expected
    assert len(list(Path().glob("snap_iter_*"))) == 2 * len(expected)


def test_the_best_stays_and_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "caffepy")
    train(Keep(1, best()))
    assert states() == [4, 12]
    assert note() == {
        "iteration": 4,
        "metric": "accuracy:max",
        "value": 0.5,
        "weights": "snap_iter_4.caffemodel",
        "state": "snap_iter_4.solverstate",
    }
    assert "Best accuracy so far: 0.5; keeping snap_iter_4.solverstate" in caplog.text


def test_a_best_test_without_a_snapshot_takes_one() -> None:
    history = train(Keep(best=best()), "snapshot_after_train: false")
    assert states() == [0, 4]
    resumed = train(Keep(), "", resume="snap_iter_4.solverstate")
    assert resumed.tests == [test for test in history.tests if test.iteration >= 4]


def test_a_best_that_cannot_be_written_leaves_the_next_better_one_to_try(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "snap_iter_4.caffemodel").mkdir()
    (folder / "snap_best.json").mkdir()
    train(Keep(best=best()), "snapshot_after_train: false")
    assert "snap_iter_4.caffemodel: cannot be written" in caplog.text
    assert "snap_best.json: cannot be written" in caplog.text
    assert {path.name for path in folder.glob("*.solverstate")} == {
        f"snap_iter_{iteration}.solverstate" for iteration in (0, 8, 12)
    }


def test_the_best_so_far_survives_a_resume() -> None:
    train(Keep(1, best()))
    expected = note(), Path("snap_iter_12.solverstate").read_bytes()
    for path in Path().glob("snap_*"):
        path.unlink()
    train(Keep(1, best()), callbacks=[StopAfter(7)])
    assert states() == [4, 7]
    train(Keep(1, best()), resume="snap_iter_7.solverstate")
    assert states() == [4, 12]
    assert (note(), Path("snap_iter_12.solverstate").read_bytes()) == expected


def test_another_metric_begins_anew() -> None:
    train(Keep(best=best()), callbacks=[StopAfter(7)])
    train(Keep(best=Scripted("accuracy", "min")), resume="snap_iter_7.solverstate")
    assert note()["iteration"] == 8


@pytest.mark.parametrize("later", [None, Metric("loss")])
def test_a_noted_best_stays_until_a_better_one_is_noted(later: Metric | None) -> None:
    train(Keep(1, best()), callbacks=[StopAfter(8)])
    assert note()["iteration"] == 4
    train(Keep(1, later), resume="snap_iter_8.solverstate")
    kept = {note()["iteration"], 12}
    assert set(states()) == kept
    assert 4 in kept or later is not None


def test_half_a_snapshot_that_a_killed_process_left_is_removed_on_resume() -> None:
    train(Keep(2), callbacks=[StopAfter(8)])
    Path("snap_iter_6.solverstate").unlink()
    train(Keep(1), resume="snap_iter_8.solverstate")
    assert states() == [12]
    assert not Path("snap_iter_6.caffemodel").exists()


def test_what_is_no_snapshot_of_the_run_stays(folder: Path) -> None:
    train(Keep(), callbacks=[StopAfter(4)])
    others = [
        "snap_iter_1.caffemodel",  # weights alone
        "snap_iter_02.solverstate",
        "snap_iter_2.solverstate.bak",
        "snapx_iter_2.solverstate",
        "snapx_iter_2.caffemodel",
        "snap_iter_20.solverstate",  # of a longer run before
        "snap_iter_20.caffemodel",
    ]
    for name in others:
        shutil.copy("snap_iter_4." + name.split(".")[1], name)
    before = set(folder.iterdir())
    train(Keep(1), resume="snap_iter_4.solverstate")
    gone = {path.name for path in before - set(folder.iterdir())}
    kinds = ("caffemodel", "solverstate")
    assert gone == {f"snap_iter_{at}.{kind}" for at in (2, 4) for kind in kinds}


@pytest.mark.parametrize("ending", ["", ".h5"])
def test_weights_that_a_kept_state_names_stay(ending: str) -> None:
    more = "snapshot: 2" + " snapshot_format: HDF5" * bool(ending)
    train(Keep(), more, callbacks=[StopAfter(6)])
    path = Path(f"snap_iter_6.solverstate{ending}")
    state = read_snapshot(path)
    state.learned_net = f"elsewhere/snap_iter_2.caffemodel{ending}"
    write_snapshot(state, path, hdf5=bool(ending))
    keep = Keep(2)
    solver = make_solver(SOLVER + more)
    solver.iteration = 6
    keep.on_snapshot(solver, Path(), Path())
    assert Path(f"snap_iter_2.caffemodel{ending}").is_file()
    path.write_bytes(b"damaged")
    keep.on_snapshot(solver, Path(), Path())
    assert not Path(f"snap_iter_2.caffemodel{ending}").exists()
    solver.close()


def test_a_name_that_no_test_has_is_refused_before_anything_is_written(folder: Path) -> None:
    before = set(folder.iterdir())
    with pytest.raises(NetError, match="metric 'acuracy': expected an output of a test net"):
        train(Keep(best=Metric.parse("acuracy")))
    assert set(folder.iterdir()) <= before | {folder / "solver.prototxt"}


def test_a_best_snapshot_needs_a_prefix() -> None:
    solver = make_solver(SOLVER, callbacks=[Keep(best=Metric.parse("accuracy"))])
    solver.settings.param.ClearField("snapshot_prefix")
    solver.settings.param.snapshot_after_train = False
    with pytest.raises(PrototxtError, match="snapshot_prefix: expected one, for the best snapshot"):
        solver.solve()
    solver.close()
