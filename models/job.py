"""What the main jobs of the models share: a folder of their own, and caffepy's commands in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

# What `caffepy train` writes, and what a job writes with its output.
MADE = (
    "*_lmdb", "mean.binaryproto", "*.caffemodel", "*.solverstate", "*_resolved_*.prototxt",
    "*_run.json", "metrics.jsonl", "*.log", "*.png",
)  # fmt: skip


class Job:
    """A folder that a model's job fills: it starts with the model's own files.

    package: of the model.  files: its files that are copied.  made: patterns of what the job makes
    besides MADE.
    """

    def __init__(
        self, folder: Path, package: str, files: Sequence[str], made: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self._package = package
        self._files = files
        self._made = made

    def begin(self) -> None:
        """Makes the folder, in place of one that an earlier run left. Ends the program where the
        folder holds other things."""
        if self.folder.exists():
            if not self._is_of_a_run():
                sys.exit(
                    f"{self.folder} exists and holds other things than a run leaves: remove it, or "
                    "name another folder."
                )
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        for name in self._files:
            (self.folder / name).write_bytes(self._embedded(name))

    def caffepy(self, arguments: str, log: str = "") -> str:
        """Runs one command as a user would, shows its output, and keeps it in the file `log`."""
        print(f"\n$ caffepy {arguments}", flush=True)
        lines = []
        with subprocess.Popen(
            [sys.executable, "-m", "caffepy", *arguments.split()],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        if process.returncode:
            sys.exit(
                f"caffepy {arguments.split(maxsplit=1)[0]} failed with status {process.returncode}."
            )
        if log:
            (self.folder / log).write_text("".join(lines), encoding="utf-8")
        return "".join(lines)

    def weights(self) -> Path:
        """The newest weights in the folder."""
        return max(self.folder.glob("*.caffemodel"), key=lambda path: path.stat().st_mtime)

    def _is_of_a_run(self) -> bool:
        """Whether the folder holds the model's files, and nothing that a run does not write."""
        known = (*self._files, *MADE, *self._made)
        return all(
            (self.folder / name).is_file()
            and (self.folder / name).read_bytes() == self._embedded(name)
            for name in self._files
        ) and all(any(path.match(name) for name in known) for path in self.folder.iterdir())

    def _embedded(self, name: str) -> bytes:
        return resources.files(self._package).joinpath(name).read_bytes()


def mean_output(log: str, name: str) -> float:
    """A test output's mean over all batches, from what `caffepy test` printed."""
    return float(re.findall(rf"\] {name} = (\S+)", log)[-1])


def mean_average_precision(log: str) -> float:
    """The mean of all classes, from the table that `caffepy test_detection` printed."""
    return float(re.findall(r"^  mean +(\S+)$", log, re.MULTILINE)[-1])
