"""python -m benchmarks.start_up: how long commands take to begin.

`caffepy --help`, and `caffepy train` of LeNet from an LMDB, from the start of the process to the
log line of iteration 0 with its loss: after the imports, the net, and the first forward and
backward pass. Each runs some times in turns; the first runs, which fill the file cache, are left
out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.lmdb_nets import NEVER, write_training

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {"caffepy --help": 0.3, "caffepy train, to iteration 0": 1.0}  # seconds wanted


def time_help() -> float:
    """Seconds."""
    started = time.perf_counter()
    subprocess.run(_command("--help"), env=_environment(), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def time_training(solver: Path, *options: str) -> float:
    """Seconds to the first loss. Raises: SystemExit where the command ends before."""
    started = time.perf_counter()
    with subprocess.Popen(
        _command("train", "--solver", str(solver), *options),
        env=_environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if "] Iteration 0" in line and "loss = " in line:
                    return time.perf_counter() - started
        finally:
            process.kill()
    raise SystemExit("".join(lines))


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "caffepy", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def main() -> None:
    """Prints a line for each command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args()
    print(f"python -m benchmarks.start_up {' '.join(sys.argv[1:])}".rstrip())
    with tempfile.TemporaryDirectory() as folder:
        solver = write_training(Path(folder), "lenet", NEVER)
        runs: list[Callable[[], float]] = [
            time_help,
            lambda: time_training(solver, "--engine", given.engine),
        ]
        for run in runs:
            run()
        times = [[run() for run in runs] for _ in range(given.runs)]
    for (name, limit), seconds in zip(LIMITS.items(), zip(*times, strict=True), strict=True):
        print(
            f"{name}: {statistics.median(seconds):.3f} s ({min(seconds):.3f} to "
            f"{max(seconds):.3f}), wanted {limit} s"
        )


if __name__ == "__main__":
    main()
