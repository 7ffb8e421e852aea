"""python -m benchmarks.side_by_side: a training alone, two at once, and one beside a busy program.

A machine is shared fairly where two trainings together do what they would do one after the other,
and where one beside a program that computes on one CPU keeps what the others give. Threads that
wait by spinning spoil both. For each environment (variables to set, as GOMP_SPINCOUNT=1000; `none`
for no variables) all three are run in turns.

alone: iterations/s, the median over the log's lines, of the fastest round.  two at once: both
together as a part of twice that.  beside: as a part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.nets import NETS
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import SolverParameter

ROOT = Path(__file__).resolve().parent.parent
LINES = 8  # of the log, with a rate each; the first one tells of the start
RATE = re.compile(r"\(([\d.e+-]+) iter/s")
BUSY = "while True: pass"
WAYS = ("alone", "two at once", "beside")


def write_solver(folder: Path, net: str, iterations: int) -> Path:
    """The solver of a benchmark's net, without snapshots."""
    (folder / "net.prototxt").write_text(text.write(NETS[net].param()))
    param = SolverParameter(
        net=str(folder / "net.prototxt"), base_lr=1e-4, momentum=0.9, weight_decay=5e-4,
        lr_policy="fixed", max_iter=iterations, display=max(1, iterations // LINES),
        snapshot_after_train=False,
    )  # fmt: skip
    path = folder / "solver.prototxt"
    path.write_text(text.write(param))
    return path


def start(solver: Path, threads: int | None, variables: dict[str, str]) -> subprocess.Popen[str]:
    """One training."""
    command = [sys.executable, "-m", "caffepy", "train", "--solver", str(solver)]
    command += ["--threads", str(threads)] if threads else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def rate_of(training: subprocess.Popen[str]) -> float:
    """Its iterations/s, after its end. Raises: SystemExit where it failed."""
    _, log = training.communicate()
    rates = [float(found) for found in RATE.findall(log)]
    if training.returncode or len(rates) < 3:
        raise SystemExit(f"caffepy train ended with status {training.returncode}:\n{log[-2000:]}")
    return statistics.median(rates[2:])


@contextlib.contextmanager
def busy_program() -> Iterator[None]:
    """A program that keeps one CPU busy."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def rate(way: str, solver: Path, threads: int | None, variables: dict[str, str]) -> float:
    """Iterations/s of all trainings together, in one of WAYS."""
    with busy_program() if way == "beside" else contextlib.nullcontext():
        count = 2 if way == "two at once" else 1
        trainings = [start(solver, threads, variables) for _ in range(count)]
        return sum(rate_of(training) for training in trainings)


def _variables(environment: str) -> dict[str, str]:
    if environment == "none":
        return {}
    return dict(one.split("=", 1) for one in environment.split("+"))


def main() -> None:
    """Prints a line for each environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--net", choices=NETS, default="lenet")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: all")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("environments", nargs="*", default=["none"], metavar="NAME=VALUE+...")
    arguments = parser.parse_args()
    ways = arguments.ways.split(",")
    turns = list(itertools.product(arguments.environments, ways))
    best = dict.fromkeys(turns, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        solver = write_solver(Path(folder), arguments.net, arguments.iterations)
        for _ in range(arguments.rounds):
            for environment, way in turns:
                found = rate(way, solver, arguments.threads, _variables(environment))
                best[environment, way] = max(best[environment, way], found)
    print(f"{NETS[arguments.net].title}, {arguments.threads or 'all'} thread(s)")
    for environment in arguments.environments:
        alone = best[environment, "alone"]
        line = f"{environment:<32} alone {alone:7.1f} iterations/s"
        for way in ways[1:]:
            part = best[environment, way] / alone / (2 if way == "two at once" else 1)
            line += f"   {way} {part:.2f}"
        print(line)


if __name__ == "__main__":
    main()
