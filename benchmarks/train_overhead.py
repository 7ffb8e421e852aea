"""python -m benchmarks.train_overhead: what `caffepy train` costs over the bare step.

The bare step is that of benchmarks.train_step: forward, backward and update, the batch in memory.
`caffepy train` reads an LMDB of random images through a Data layer, transforms and prefetches them,
looks for nan, and logs to a file; tests and snapshots are left out. The command itself runs, in
this process; in each round it pauses between two of its iterations for as many bare steps. The
first iterations of a round, for which batches were made during the pause, do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from benchmarks.contenders import OurStep
from benchmarks.lmdb_nets import FEEDS, NEVER, write_training
from benchmarks.nets import NETS
from benchmarks.rounds import WARM_UP, Measured, Rounds
from caffepy.engine.core import log
from caffepy.engine.ops.select import make_ops
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.proto.caffe_pb2 import TRAIN
from caffepy.tools import cli, train_callbacks

BARE, COMMAND = "bare step", "caffepy train"
AHEAD = 5  # batches that a pause makes, and one that is in use


class Interleaved(Callback):
    """Lets a training pause for bare steps, and times both.

    Rounds of bare steps and of iterations follow each other, in every other round the iterations
    first; when there were enough the training stops.
    """

    def __init__(self, bare: OurStep, rounds: int, seconds: float) -> None:
        self._bare = bare
        self._seconds = seconds
        self._rounds = Rounds(rounds)
        self._repeats = 0
        self._iterations: Iterator[None] = iter(())

    def on_start(self, solver: Training) -> None:
        self._iterations = self._run(solver)

    def on_iteration(self, solver: Training) -> None:
        next(self._iterations, None)

    @property
    def measured(self) -> Measured:
        return self._rounds.result()

    def _run(self, solver: Training) -> Iterator[None]:
        """Yields where the training is to do an iteration."""
        for _ in range(WARM_UP):
            self._bare()
            yield
        self._repeats = max(1, round(self._seconds * 1e3 / self._time_bare(1)))
        while not self._rounds.enough:
            bare_first = self._rounds.taken % 2 == 0
            self._rounds.start()
            ms = {}
            if bare_first:
                ms[BARE] = self._time_bare(self._repeats)
            for _ in range(AHEAD):
                yield
            started = time.perf_counter()
            for _ in range(self._repeats):
                yield
            ms[COMMAND] = (time.perf_counter() - started) * 1e3 / self._repeats
            if not bare_first:
                ms[BARE] = self._time_bare(self._repeats)
            self._rounds.end(ms)
        solver.request_stop()

    def _time_bare(self, times: int) -> float:
        """Milliseconds of a step."""
        started = time.perf_counter()
        for _ in range(times):
            self._bare()
        return (time.perf_counter() - started) * 1e3 / times


def compare(net: str, engine: str, threads: int, rounds: int, seconds: float) -> Measured:
    """Times the bare step and the command. Raises: SystemExit where the command fails."""
    bare = OurStep(NETS[net].param(), make_ops(engine, threads), TRAIN)
    interleaved = Interleaved(bare, rounds, seconds)
    make_callbacks = train_callbacks.make_callbacks
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        solver = write_training(Path(folder), net, NEVER)
        logged = stack.enter_context(open(Path(folder) / "log", "w+"))
        stack.enter_context(contextlib.redirect_stderr(logged))
        stack.enter_context(
            mock.patch.object(
                train_callbacks,
                "make_callbacks",
                lambda *args, **kwargs: [*make_callbacks(*args, **kwargs), interleaved],
            )
        )
        options = f"--engine {engine} --threads {threads}".split()
        try:
            cli.main(["train", "--solver", str(solver), *options])
        except SystemExit as end:
            log.start(logging.WARNING)
            if end.code:
                logged.seek(0)
                raise SystemExit(logged.read()) from None
    return interleaved.measured


def main() -> None:
    """Prints a line for each net."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", default="lenet,caffenet", help=f"of {', '.join(FEEDS)}")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each, per round")
    given = parser.parse_args()
    print(f"python -m benchmarks.train_overhead {' '.join(sys.argv[1:])}".rstrip())
    for net in given.nets.split(","):
        if net not in FEEDS:
            parser.error(f"--nets: expected some of {', '.join(FEEDS)}, got '{net}'.")
        found = compare(net, given.engine, given.threads, given.rounds, given.seconds)
        ratios = [ours / bare for ours, bare in zip(found.ms[COMMAND], found.ms[BARE], strict=True)]
        medians = found.medians()
        print(
            f"{NETS[net].title} ({NETS[net].batch}), {given.threads} threads: bare step "
            f"{medians[BARE]:.2f} ms, caffepy train {medians[COMMAND]:.2f} ms: "
            f"{statistics.median(ratios):.3f} times ({min(ratios):.3f} to {max(ratios):.3f}); "
            f"{found}",
            flush=True,
        )


if __name__ == "__main__":
    main()
