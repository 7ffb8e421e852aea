"""caffepy train: trains, fine-tunes or resumes a net by a solver prototxt."""

from __future__ import annotations

import click

from caffepy.tools.common import FileName, choose_ops, engine_options, split_list, state_options


@click.command()
@click.option(
    "--solver", required=True, type=FileName(), metavar="FILE", help="The solver, a prototxt."
)
@click.option("--snapshot", metavar="FILE", help="Resume from this .solverstate[.h5].")
@click.option("--weights", default="", metavar="A,B", help="Start from these weights.")
@click.option(
    "--iterations", type=click.IntRange(1), metavar="N", help="End this run after N iterations."
)
@click.option(
    "--phase",
    type=click.Choice(["TRAIN", "TEST"], case_sensitive=False),
    metavar="TRAIN|TEST",
    help="Accepted as Caffe accepts it: only `time` uses it.",
)
@state_options
@engine_options
def command(
    solver: str, snapshot: str | None, weights: str, iterations: int | None, phase: str | None,
    level: int, stage: str, engine: str, threads: int | None, gpu: str | None,
) -> None:  # fmt: skip
    """Trains until the solver's max_iter, with its tests and snapshots."""
    import caffepy.layers  # noqa: F401 - registers the layer types
    from caffepy.engine.core import log
    from caffepy.engine.core.registry import LAYERS
    from caffepy.engine.solver.callbacks import Callback, StopAfter
    from caffepy.engine.solver.settings import Settings
    from caffepy.engine.solver.solver import Solver

    if snapshot and weights:
        raise click.UsageError(
            "--snapshot and --weights: expected one of them, got both. "
            "A snapshot already holds weights."
        )
    settings = Settings.read(solver)
    settings.param.train_state.level = level
    settings.param.train_state.stage.extend(split_list(stage))
    if weights:
        settings.param.weights[:] = [weights]
    callbacks: list[Callback] = [StopAfter(iterations)] if iterations else []
    run = Solver(
        settings,
        ops=choose_ops(engine, threads, gpu),
        registry=LAYERS,
        callbacks=callbacks,
        resume=snapshot,
        honour_mode=engine == "auto",
    )
    try:
        log.info("Starting Optimization")
        run.solve()
        log.info("Optimization Done.")
    finally:
        run.close()
