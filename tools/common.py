"""What the commands that run nets share: their options, and opening a net."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from caffepy.engine.net import Net
    from caffepy.engine.ops.base import Ops

F = TypeVar("F", bound=Callable[..., Any])


class FileName(click.types.StringParamType):
    """The name of a file, or several: not empty, as it is where a script's variable is unset."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value.strip(" ,"):
            self.fail(f"expected a file's name, got '{value}'.", param, ctx)
        return value


def engine_options(command: F) -> F:
    """--engine, --threads, --gpu: what a net runs on."""
    for option in (
        click.option("--gpu", metavar="IDS", help="Refused: there is no GPU engine yet."),
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
        command = option(command)
    return command


def state_options(command: F) -> F:
    """--level, --stage: which layers of a prototxt belong to the net."""
    for option in (
        click.option("--stage", default="", metavar="A,B", help="Stages the net is in."),
        click.option("--level", type=int, default=0, help="Level of the net. [default: 0]"),
    ):
        command = option(command)
    return command


def choose_ops(engine: str, threads: int | None, gpu: str | None) -> Ops:
    """The backend that the options ask for. Raises: DeviceError where it cannot be had."""
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DeviceError
    from caffepy.engine.ops.select import make_ops

    if gpu:
        raise DeviceError(
            f"--gpu {gpu}: this version of caffepy has no GPU engine. Leave --gpu away to run "
            "on the CPU."
        )
    log.info("Use CPU.")
    return make_ops(engine, threads)


def open_net(model: str, phase: str, level: int, stage: str, weights: str, ops: Ops) -> Net:
    """The net of a prototxt file, with the weights of the files a,b,... . phase: TRAIN or TEST."""
    import caffepy.layers  # noqa: F401 - registers the layer types
    from caffepy.engine.core.registry import LAYERS
    from caffepy.engine.net import Net
    from caffepy.engine.weights import load_weights
    from caffepy.proto import text
    from caffepy.proto.caffe_pb2 import NetParameter, NetState

    param = text.read(model, NetParameter)
    state = NetState(phase=phase, level=level, stage=split_list(stage))
    net = Net(
        param, state, ops=ops, registry=LAYERS, folders=(Path(), Path(model).resolve().parent)
    )
    net.check_layers()
    for path in split_list(weights):
        load_weights(net, path)
    return net


def split_list(text: str) -> list[str]:
    """The members of a comma-separated list, without blanks and empty ones."""
    return [member.strip() for member in text.split(",") if member.strip()]
