"""--engine, --threads, --gpu and what belongs to it: what a command runs nets on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from caffepy.engine.ops.base import Ops
    from caffepy.engine.solver.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = ("engine", "threads", "gpu", "precision", "deterministic", "cache")


@dataclass(frozen=True)
class EngineChoice:
    """What the options ask for. gpu: as it was given, None without.  cache: "device" or None."""

    engine: str
    threads: int | None
    gpu: str | None
    precision: str
    deterministic: bool
    cache: str | None

    def make_ops(self, settings: Settings | None = None) -> Ops:
        """The backend. settings: of a solver, whose solver_mode and device_id hold where no option
        says otherwise.

        Raises: DeviceError where it cannot be had, click.UsageError where options contradict.
        """
        from caffepy.engine.core import log
        from caffepy.engine.ops.select import make_gpu_ops, make_ops

        if self.gpu and self.engine != "auto":
            raise click.UsageError(
                f"--gpu and --engine: expected one of them, got --gpu {self.gpu} and --engine "
                f"{self.engine}, which is one of the CPU. Leave one away."
            )
        gpu, asked_by = self.gpu, f"--gpu {self.gpu}"
        instead = "leave it away to run on the CPU"
        if settings is not None and self.engine == "auto" and not gpu and settings.asks_for_gpu:
            gpu = str(settings.param.device_id)
            asked_by = settings.where("device_id" if settings.given("device_id") else "solver_mode")
            instead = "set solver_mode: CPU, or choose an engine of the CPU with --engine"
        if gpu:
            return make_gpu_ops(
                gpu,
                self.precision,
                self.deterministic,
                asked_by=asked_by,
                keep_data=self.cache == "device",
                instead=instead,
            )
        if self.cache:
            raise click.UsageError(
                f"--cache {self.cache}: expected a GPU to keep the data set on, got an engine of "
                "the CPU, which reads it from the system's own cache. Leave it away, or add "
                "--gpu 0."
            )
        log.info("Use CPU.")
        return make_ops(self.engine, self.threads)


def engine_options(command: F) -> F:
    """The options, which the command gets as one argument `chosen`, an EngineChoice."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        chosen = EngineChoice(**{name: kwargs.pop(name) for name in OPTIONS})
        return command(*args, chosen=chosen, **kwargs)

    for option in (
        click.option(
            "--cache",
            type=click.Choice(["device"]),
            help="Keep the databases of Data layers on the GPU, where they fit.",
        ),
        click.option(
            "--deterministic",
            is_flag=True,
            help="On a GPU: the same bits in every run, where that is slower too.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["fp32", "tf32", "fp16", "bf16"]),
            default="tf32",
            help="Of convolutions and products on a GPU. [default: tf32]",
        ),
        click.option("--gpu", metavar="ID", help="Run on this GPU: 0, 1, ..., or all."),
        click.option(
            "--threads", type=click.IntRange(1), metavar="N", help="CPU threads. [default: all]"
        ),
        click.option(
            "--engine",
            type=click.Choice(["auto", "numpy", "onednn"]),
            default="auto",
            help="CPU engine; auto takes oneDNN where it is installed. [default: auto]",
        ),
    ):
        run = option(run)
    return run  # type: ignore[return-value] # of the same arguments, as click calls it
