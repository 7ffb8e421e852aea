"""What a training from the command line does besides to train, as its options ask for it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

from caffepy.engine.solver.callbacks import Callback, StopAfter
from caffepy.engine.solver.early_stop import EarlyStop
from caffepy.engine.solver.finite import StopOnNan
from caffepy.engine.solver.keep import Keep
from caffepy.engine.solver.metric import Metric
from caffepy.engine.solver.metrics_log import MetricsLog
from caffepy.engine.solver.run_records import RunRecords, takes_snapshots
from caffepy.engine.solver.solver import Solver
from caffepy.proto.caffe_pb2 import SolverParameter
from caffepy.tools.foot_line import can_show
from caffepy.tools.progress import Progress


def make_callbacks(
    param: SolverParameter,
    *,
    iterations: int | None,
    on_nan: str,
    early_stop: str | None,
    keep: int,
    keep_best: str | None,
    command_line: Sequence[str],
    threads: int | None,
    layers: Sequence[str],
    on_mismatch: str,
) -> list[Callback]:
    """The callbacks of a run. Those that may refuse it come before those that write files.

    Raises: CaffepyError where an option's text makes no sense.
    """
    callbacks: list[Callback] = []
    if on_nan == "stop":
        callbacks.append(StopOnNan())
    if early_stop:
        callbacks.append(EarlyStop.parse(early_stop))
    if keep or keep_best:
        callbacks.append(Keep(keep, Metric.parse(keep_best) if keep_best else None))
    if iterations:
        callbacks.append(StopAfter(iterations))
    if takes_snapshots(param) or keep_best:
        callbacks += [RunRecords(command_line, threads, layers, on_mismatch), MetricsLog()]
    return callbacks


@contextlib.contextmanager
def progress_line(solver: Solver, wanted: bool, iterations: int | None) -> Iterator[None]:
    """The progress line while `solver` works, where it is wanted and stderr can show it."""
    if not wanted or not can_show():
        yield
        return
    progress = Progress(logging.getLogger("caffepy"), iterations)
    solver.callbacks.append(progress)
    try:
        yield
    finally:
        progress.close()
