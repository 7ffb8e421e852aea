"""Snapshots of a solver: written so that no moment is without a good one, and taken back whole."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from caffepy.engine.core import log
from caffepy.engine.core.errors import SaveError, SnapshotError, WeightsError
from caffepy.engine.files import refusing, sync_folder, written_together
from caffepy.engine.snapshot import Snapshot, find_weights, put_snapshot, read_snapshot
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.engine.solver.loss_scale import LossScale
from caffepy.engine.solver.lr_policy import LrPolicy
from caffepy.engine.solver.net_state import net_state, restore_net
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.snapshot_files import SnapshotFiles
from caffepy.engine.weights import fit_weights
from caffepy.engine.weights_file import write_weights
from caffepy.proto.caffe_pb2 import SolverParameter


class Saved(Training, Protocol):
    """A solver as its snapshots see it."""

    param: SolverParameter
    policy: LrPolicy
    callbacks: list[Callback]
    loss_scale: LossScale

    def look(self) -> None: ...


@dataclass(frozen=True)
class Resumption:
    """A state file that is whole, and its weights, which are there. Nothing of them is in a solver
    yet."""

    path: Path
    state: Snapshot
    weights: Path | None

    @classmethod
    def read(cls, path: Path, settings: Settings) -> Resumption:
        """Raises: SnapshotError where a file is damaged or missing, or another solver type's."""
        try:
            state = read_snapshot(path)
        except WeightsError as error:
            raise SnapshotError(str(error)) from None
        theirs = state.extra.get("solver_type", settings.param.type)
        if theirs != settings.param.type:
            raise SnapshotError(
                f"{path}: expected the state of a solver of type {settings.param.type}, got one of "
                f'{theirs}. Set type: "{theirs}" in the solver to go on with it, or start from its '
                f"weights alone: --weights {state.learned_net}."
            )
        return cls(path, state, find_weights(state, path))


class Snapshots:
    """Writes the snapshots of one solver, and takes them back.

    on_error: `warn`: where a file cannot be written (the disk is full), training goes on;
    `stop`: it ends.
    Attributes: unsaved, whether the last one asked for could not be written.
    """

    def __init__(self, solver: Saved, on_error: str) -> None:
        assert on_error in ("warn", "stop"), on_error
        self.unsaved = False
        self._solver = solver
        self._on_error = on_error
        self._last: Path | None = None
        self._held: dict[str, Any] | None = None

    def hold(self) -> None:
        """From now on until `release`, snapshots lead to this moment: a resumed run repeats what
        comes after it. That must not change weights or history (forward passes of a train net with
        BatchNorm change its statistics: these are then as they were when the snapshot was
        taken)."""
        if self._held is None:
            self._held = copy.deepcopy(self._extra())

    def release(self) -> None:
        """Snapshots lead to the moment they are taken in again."""
        self._held = None

    def take(self, *, must: bool = False) -> None:
        """Writes the weights, then the state that makes them count.

        must: training does not go on, so that a failure ends it whatever `on_error` says.

        Raises: SnapshotError.
        """
        self._solver.look()
        solver, files = self._solver, self._files()
        for callback in solver.callbacks:
            callback.on_snapshot_due(solver)
        try:
            self._write(files)
        except SaveError as error:
            self.unsaved = True
            last = f"the last one is '{self._last}'" if self._last else "there is none before it"
            if must or self._on_error == "stop":
                raise SaveError(f"{error} This snapshot is lost; {last}.") from None
            log.warning(
                f"{error} Training goes on without this snapshot; {last}. Choose "
                "--on-snapshot-error stop to end it instead."
            )
            return
        self.unsaved, self._last = False, files.state
        for callback in solver.callbacks:
            callback.on_snapshot(solver, files.weights, files.state)

    def ensure(self) -> None:
        """`take` amid tests, unless the snapshot that leads to them is on the disk: what the passes
        since then have changed (see `hold`) is not to replace it. Raises: SnapshotError."""
        files = self._files()
        if self._last == files.state and files.complete:
            log.info(f"The snapshot of iteration {self._solver.iteration} is {files.state}")
        else:
            self.take()

    def restore(self, resumption: Resumption) -> None:
        """Takes a state and its weights. Raises: SnapshotError where they do not fit, before
        anything is changed; DataError where a layer's data are not those of the snapshot."""
        solver, path, state = self._solver, resumption.path, resumption.state
        fitting = None
        if resumption.weights is not None:
            try:
                fitting = fit_weights(solver.net, resumption.weights, complete=True)
            except WeightsError as error:
                raise SnapshotError(f"{path}: its weights do not fit: {error}") from None
        solver.rule.check_history(state.history, str(path))
        if fitting is not None:
            fitting.load()
        log.info("SGDSolver: restoring history")
        solver.rule.restore(state.history, str(path))
        solver.iteration, solver.resumed_from = state.iteration, path
        solver.policy.current_step = state.current_step
        solver.policy.restore(state.policy)
        extra = state.extra
        if extra.get("seed", solver.seed) != solver.seed:
            tell = log.warning if solver.param.random_seed >= 0 else log.info
            tell(
                f"{path}: it was made with random seed {extra['seed']}, this run has "
                f"{solver.seed}. Set random_seed: {extra['seed']} to go on with the same random "
                "numbers."
            )
        solver.losses.restore(extra.get("losses", ()))
        if extra.get("loss_scale"):
            solver.loss_scale.restore(extra["loss_scale"])
        for net, saved in zip((solver.net, *solver.test_nets), extra.get("nets", ())):
            restore_net(net, saved)
        for callback in solver.callbacks:
            if type(callback).__name__ in extra.get("callbacks", {}):
                callback.restore(extra["callbacks"][type(callback).__name__])
        self._last = path
        self.release()

    def _write(self, files: SnapshotFiles) -> None:
        solver, param = self._solver, self._solver.param
        kind = "HDF5" if files.hdf5 else "binary proto"
        with written_together(files.weights, files.state) as (weights, state):
            log.info(f"Snapshotting to {kind} file {files.weights}")
            with refusing(files.weights):
                digest = write_weights(
                    solver.net, weights, files.weights, hdf5=files.hdf5, diffs=param.snapshot_diff
                )
            log.info(f"Snapshotting solver state to {kind} file {files.state}")
            content = Snapshot(
                solver.iteration,
                str(files.weights),
                solver.policy.current_step,
                [value.content() for value in solver.rule.history],
                {
                    "solver_type": param.type,
                    "seed": solver.seed,
                    "weights_sha256": digest,
                    **(self._held or self._extra()),
                },
                solver.policy.state(),
            )
            with refusing(files.state):
                put_snapshot(content, state, files.state, hdf5=files.hdf5)
        sync_folder(files.state.parent)

    def _files(self) -> SnapshotFiles:
        """Those of a snapshot of this iteration."""
        param = self._solver.param
        hdf5 = param.snapshot_format == SolverParameter.HDF5
        return SnapshotFiles(param.snapshot_prefix, self._solver.iteration, hdf5)

    def _extra(self) -> dict[str, Any]:
        """What exact resume needs besides iteration, weights and history."""
        solver = self._solver
        return {
            "losses": solver.losses.state(),
            "loss_scale": solver.loss_scale.state(),
            "nets": [net_state(net) for net in (solver.net, *solver.test_nets)],
            "callbacks": {
                type(one).__name__: state for one in solver.callbacks if (state := one.state())
            },
        }
