"""Keep: which snapshots stay on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from caffepy.engine.core import log
from caffepy.engine.core.errors import SaveError, SnapshotError
from caffepy.engine.files import written_whole
from caffepy.engine.snapshot import read_learned_net
from caffepy.engine.solver.callbacks import Callback, TestResult, Training
from caffepy.engine.solver.metric import Metric
from caffepy.engine.solver.snapshot_files import SnapshotFiles, existing_snapshots


class Keep(Callback):
    """Keeps the newest snapshots of the run's snapshot_prefix, and the best one.

    newest: how many stay; older ones are removed when a newer one is on the disk. 0: all.
    best: the snapshot of the iteration whose test gave the best value so far stays too; where there
    is none of that iteration, one is taken. Its files, iteration and value are written into
    `<prefix>_best.json`.

    The snapshot that this file names stays until a better one takes its place, also in a run that
    looks for no best one. Snapshots of later iterations than the run's, of an earlier run, are left
    alone until the run comes there; so is what is no pair of weights and state, and what a state
    that stays names.
    """

    def __init__(self, newest: int = 0, best: Metric | None = None) -> None:
        self.newest = newest
        self.best = best
        self._value: float | None = None  # of the best test ...
        self._iteration = -1  # ... its iteration ...
        self._metric = ""  # ... and what it measured
        self._saved: tuple[int, Path, Path] | None = None  # the last snapshot
        # iterations of this run's snapshots that are to be looked after
        self._taken: list[int] = []

    def check(self, solver: Training) -> None:
        if self.best is None:
            return
        self.best.check(solver.test_nets)
        if not solver.settings.param.snapshot_prefix:
            solver.settings.refuse(
                "snapshot_prefix",
                "expected one, for the best snapshot, got none. Give the path and the beginning of "
                "the snapshots' names.",
            )
        solver.settings.check_snapshot_folder()

    def on_start(self, solver: Training) -> None:
        if self._metric != str(self.best):
            self._value, self._iteration = None, -1
        resumed = solver.resumed_from
        for files in existing_snapshots(_prefix(solver)):
            if files.iteration == solver.iteration and files.state == resumed:
                self.on_snapshot(solver, files.weights, files.state)

    def on_snapshot(self, solver: Training, weights: Path, state: Path) -> None:
        self._saved = solver.iteration, weights, state
        self._taken = list(dict.fromkeys((*self._taken, solver.iteration))) if self.newest else []
        self._remove_old(solver)

    def on_tested(self, solver: Training, result: TestResult) -> None:
        value = None if self.best is None else self.best.value(result)
        if self.best is None or value is None or not self.best.is_better(value, self._value):
            return
        if self._saved is None or self._saved[0] != solver.iteration:
            solver.snapshot()
        if self._saved is None or self._saved[0] != solver.iteration:
            return  # it could not be written; the next better test tries again
        self._value, self._iteration, self._metric = value, solver.iteration, str(self.best)
        _, weights, state = self._saved
        log.info(f"Best {self.best.name} so far: {value:g}; keeping {state}")
        note = {
            "iteration": solver.iteration,
            "metric": str(self.best),
            "value": value,
            "weights": str(weights),
            "state": str(state),
        }
        path = _note(solver)
        try:
            with written_whole(path) as temporary:
                temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
        except SaveError as error:
            log.warning(f"{error} The snapshot itself is there.")
        self._remove_old(solver)

    def state(self) -> dict[str, Any]:
        best = (self._metric, self._value, self._iteration)
        return {"best": best, "taken": self._taken}

    def restore(self, state: dict[str, Any]) -> None:
        self._metric, self._value, self._iteration = state["best"]
        self._taken = state["taken"]

    def _remove_old(self, solver: Training) -> None:
        """Removes the snapshots that are neither among the newest nor the best."""
        if not self.newest:
            return
        found = [
            files
            for files in existing_snapshots(_prefix(solver))
            if files.complete and files.iteration <= solver.iteration
        ]
        iterations = sorted({files.iteration for files in found})
        kept = {*iterations[-self.newest :], self._iteration, _noted(solver)}
        named = {_learned_net(files.state) for files in found if files.iteration in kept}
        old = [files for files in found if files.iteration not in kept]
        for iteration in set(self._taken) - kept:  # a killed process may have left half of one
            halves = (SnapshotFiles(_prefix(solver), iteration, hdf5) for hdf5 in (False, True))
            old += [files for files in halves if not files.state.exists()]
        for files in old:
            if files.weights.name not in named:
                _remove(files)
        self._taken = [iteration for iteration in self._taken if iteration in kept]


def _prefix(solver: Training) -> str:
    return solver.settings.param.snapshot_prefix


def _note(solver: Training) -> Path:
    """The file that names the best snapshot."""
    return Path(f"{_prefix(solver)}_best.json")


def _noted(solver: Training) -> int:
    """The iteration of the best snapshot, of an earlier run maybe; -1 where none is noted."""
    try:
        return int(json.loads(_note(solver).read_text(encoding="utf-8"))["iteration"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or not ours
        return -1


def _remove(files: SnapshotFiles) -> None:
    """Removes the state first: weights alone do no harm."""
    for path in (files.state, files.weights):
        try:
            if path.exists():
                log.info(f"Removing {path}")
                path.unlink()
        except OSError as error:
            log.warning(
                f"{path}: cannot be removed: {error.strerror or error}. Check the folder's rights."
            )
            return


def _learned_net(state: Path) -> str:
    """The file name of the weights that a state names, '' where it is damaged."""
    try:
        return Path(read_learned_net(state)).name
    except SnapshotError:
        return ""
