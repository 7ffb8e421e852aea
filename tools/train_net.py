"""caffepy train: trains, fine-tunes or resumes a net by a solver prototxt."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import click

from caffepy.tools.common import (
    FileName,
    data_threads_option,
    layer_options,
    layer_types,
    set_option,
    split_list,
    state_options,
)
from caffepy.tools.engine_choice import EngineChoice, engine_options
from caffepy.tools.sections import SectionedCommand
from caffepy.tools.signal_effects import Signals, signal_options

if TYPE_CHECKING:
    from caffepy.proto.overrides import Override

SECTIONS = {
    "What to train": (
        "solver",
        "overrides",
        "level",
        "stage",
        "layers",
        "python_layers",
        "dialect",
    ),
    "Where to begin": ("snapshot", "weights", "on_mismatch"),
    "Snapshots": ("keep", "keep_best", "on_snapshot_error"),
    "When to end": ("iterations", "early_stop", "on_nan", "sigint_effect", "sighup_effect"),
    "What to run on": (
        "engine",
        "threads",
        "data_threads",
        "gpu",
        "precision",
        "deterministic",
        "cache",
    ),
}


@click.command(cls=SectionedCommand, sections=SECTIONS)
@click.option(
    "--solver", required=True, type=FileName(), metavar="FILE", help="The solver, a prototxt."
)
@set_option(
    "field of the solver (base_lr=0.01, stepvalue=[100,200]) or, after `net.`, of a layer "
    "(net.fc6.param.0.lr_mult=0, net.data@TEST.data_param.batch_size=4) or of the nets "
    "(net.force_backward=true)"
)
@click.option(
    "--snapshot",
    metavar="FILE|auto",
    help="Resume from this .solverstate[.h5]; auto: from the newest good one of snapshot_prefix, "
    "or start afresh where there is none.",
)
@click.option("--weights", default="", metavar="A,B", help="Start from these weights.")
@click.option(
    "--on-mismatch",
    type=click.Choice(["error", "skip"]),
    default="error",
    help="What weights of another shape than the net's do: end with an error, or be left out and "
    "listed. [default: error]",
)
@click.option(
    "--iterations", type=click.IntRange(1), metavar="N", help="End this run after N iterations."
)
@click.option(
    "--early-stop",
    metavar="METRIC:PATIENCE",
    help="End when PATIENCE tests in a row bring no new best: accuracy:5, loss:min:5.",
)
@click.option(
    "--on-nan",
    type=click.Choice(["stop", "ignore"]),
    default="stop",
    help="What nan or inf does: end with an error that names the layer, or go on. [default: stop]",
)
@click.option(
    "--keep",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Keep the N newest snapshots and remove older ones. [default: 0, keep all]",
)
@click.option(
    "--keep-best",
    metavar="METRIC",
    help="Keep the snapshot with the best test result too: accuracy, loss:min, test1/accuracy.",
)
@click.option(
    "--on-snapshot-error",
    type=click.Choice(["warn", "stop"]),
    default="warn",
    help="What a snapshot that cannot be written does while training goes on. [default: warn]",
)
@signal_options
@click.option("--progress/--no-progress", default=True, help="The progress line on a terminal.")
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    metavar="TRAIN|TEST",
    help="Accepted as Caffe accepts it: only `time` uses it.",
)
@state_options
@engine_options
@data_threads_option
@layer_options
@click.pass_obj
def command(
    command_line: list[str] | None,
    solver: str, overrides: tuple[Override, ...], snapshot: str | None, weights: str,
    on_mismatch: str, iterations: int | None, early_stop: str | None, on_nan: str, keep: int,
    keep_best: str | None, on_snapshot_error: str, sigint_effect: str, sighup_effect: str,
    progress: bool, phase: str | None, level: int, stage: str,
    chosen: EngineChoice, data_threads: int | None, layers: tuple[str, ...], python_layers: bool,
    dialect: str,
) -> int:  # fmt: skip
    """Trains until the solver's max_iter, with its tests and snapshots.

    Beside the snapshots it writes metrics.jsonl (losses, rates, test results), the solver and nets
    as they were built (PREFIX_resolved_*.prototxt), and the versions, seed and command line
    (PREFIX_run.json).

    SIGTERM ends a training as Ctrl-C does, with a last snapshot, and with status 143.
    """
    from caffepy.engine.core import log
    from caffepy.engine.net import Net
    from caffepy.engine.solver.newest import resume_newest
    from caffepy.engine.solver.settings import Settings
    from caffepy.engine.solver.solver import Solver
    from caffepy.tools.train_callbacks import make_callbacks, progress_line

    if snapshot and snapshot != "auto" and weights:
        raise click.UsageError(
            "--snapshot and --weights: expected one of them, got both. "
            "A snapshot already holds weights."
        )
    settings = Settings.read(solver)
    settings.param.train_state.level = level
    settings.param.train_state.stage.extend(split_list(stage))
    if weights:
        settings.param.weights[:] = [weights]
    settings = settings.overridden(overrides)
    if on_mismatch == "skip" and not settings.param.weights:
        raise click.UsageError(
            "--on-mismatch: expected --weights with it, got none. Name the weights to start from."
        )
    callbacks = make_callbacks(
        settings.param,
        iterations=iterations,
        on_nan=on_nan,
        early_stop=early_stop,
        keep=keep,
        keep_best=keep_best,
        command_line=command_line or [],
        threads=chosen.threads,
        layers=layers,
        on_mismatch=on_mismatch,
    )
    make = functools.partial(
        Solver,
        settings,
        ops=chosen.make_ops(settings),
        registry=layer_types(layers, python_layers),
        make_net=functools.partial(Net, keep=False, data_threads=data_threads, dialect=dialect),
        callbacks=callbacks,
        honour_mode=chosen.engine == "auto",
        on_snapshot_error=on_snapshot_error,
        on_mismatch=on_mismatch,
    )
    if snapshot == "auto":
        run = resume_newest(settings, lambda state: make(resume=state))
    else:
        run = make(resume=snapshot or None)  # empty where a script has none, as for Caffe
    signals = Signals(run, sigint_effect, sighup_effect)
    with contextlib.closing(run), signals.active(), progress_line(run, progress, iterations):
        log.info("Starting Optimization")
        run.solve()
        log.info("Optimization Done.")
    return signals.status if run.iteration < settings.param.max_iter else 0
