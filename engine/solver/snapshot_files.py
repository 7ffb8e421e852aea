"""The files of a solver's snapshots: their names, and which of them there are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SnapshotFiles:
    """One snapshot: `<prefix>_iter_<iteration>.caffemodel` and `.solverstate`, or with `.h5`."""

    prefix: str
    iteration: int
    hdf5: bool

    @property
    def weights(self) -> Path:
        return self._path("caffemodel")

    @property
    def state(self) -> Path:
        return self._path("solverstate")

    @property
    def complete(self) -> bool:
        """Whether both are there."""
        return self.weights.is_file() and self.state.is_file()

    def _path(self, kind: str) -> Path:
        ending = ".h5" if self.hdf5 else ""
        return Path(f"{self.prefix}_iter_{self.iteration}.{kind}{ending}")


def folder_of(prefix: str) -> Path:
    """Where the files of a snapshot_prefix are."""
    return Path(os.path.dirname(prefix))


def existing_snapshots(prefix: str) -> list[SnapshotFiles]:
    """The snapshots of a prefix whose state is there, oldest first.

    Of one iteration in both formats the one written last comes later.
    """
    pattern = re.compile(
        re.escape(os.path.basename(prefix)) + r"_iter_(0|[1-9]\d*)\.solverstate(\.h5)?"
    )
    found = []
    for path in folder_of(prefix).glob("*.solverstate*"):
        match = pattern.fullmatch(path.name)
        if match and path.is_file():
            files = SnapshotFiles(prefix, int(match[1]), bool(match[2]))
            found.append((files.iteration, path.stat().st_mtime_ns, files.hdf5, files))
    return [files for *_, files in sorted(found, key=lambda one: one[:3])]


def is_record_of(prefix: str) -> Callable[[str], bool]:
    """Says of a file's name whether it is one that a run of this prefix writes."""
    pattern = re.compile(
        r"metrics\.jsonl|"
        + re.escape(os.path.basename(prefix))
        + r"_(iter_\d+\.(caffemodel|solverstate)(\.h5)?|(best|run)\.json"
        + r"|resolved_(solver|train|test\d+)\.prototxt)"
    )
    return lambda name: pattern.fullmatch(name) is not None
