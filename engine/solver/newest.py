"""Going on from the newest snapshot that is good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from caffepy.engine.core import log
from caffepy.engine.core.errors import SnapshotError
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.snapshot_files import existing_snapshots
from caffepy.engine.solver.solver import Solver


def resume_newest(settings: Settings, make: Callable[[Path | None], Solver]) -> Solver:
    """The solver that goes on from the newest snapshot of its snapshot_prefix, or a fresh one.

    make: makes the solver, resuming from the state file it is given.

    A snapshot that is damaged, incomplete, or of another net or solver type is passed over, with a
    line that says why. So is one beyond max_iter, which is another training's.
    """
    prefix = settings.param.snapshot_prefix
    for files in reversed(existing_snapshots(prefix)):
        try:
            if files.iteration > settings.param.max_iter:
                raise SnapshotError(
                    f"{files.state}: expected at most max_iter, which is "
                    f"{settings.param.max_iter}, as its iteration, got {files.iteration}. Raise "
                    "max_iter to go on from it."
                )
            solver = make(files.state)
        except SnapshotError as error:
            log.warning(f"Passing over a snapshot: {error}")
            continue
        log.info(f"The newest good snapshot is {files.state}: going on from there.")
        return solver
    log.info(f"There is no good snapshot {prefix}_iter_* to go on from: starting afresh.")
    return make(None)
