"""What the commands that run nets share: their options, and opening a net."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from caffepy.engine.core.layer import Layer
    from caffepy.engine.net import Net
    from caffepy.engine.ops.base import Ops
    from caffepy.proto.overrides import Override

DIALECT = (
    "The fork that the net was written for (ssd, happynear, ...): decides where a layer type means "
    "several things and the prototxt does not say which."
)

F = TypeVar("F", bound=Callable[..., Any])


class FileName(click.types.StringParamType):
    """The name of a file, or several: not empty, as it is where a script's variable is unset."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value.strip(" ,"):
            self.fail(f"expected a file's name, got '{value}'.", param, ctx)
        return value


def _parsed(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[Override, ...]:
    """The values of `--set`. Raises: click.UsageError."""
    from caffepy.proto.errors import PrototxtError
    from caffepy.proto.overrides import Override

    try:
        return tuple(Override.parse(value) for value in values)
    except PrototxtError as error:
        raise click.UsageError(str(error), ctx) from None


def set_option(what: str) -> Callable[[F], F]:
    """--set, for `what` fields."""
    return click.option(
        "--set",
        "overrides",
        callback=_parsed,
        multiple=True,
        metavar="PATH=VALUE",
        help=f"Override a {what}; repeatable.",
    )


def state_options(command: F) -> F:
    """--level, --stage: which layers of a prototxt belong to the net."""
    for option in (
        click.option("--stage", default="", metavar="A,B", help="Stages the net is in."),
        click.option("--level", type=int, default=0, help="Level of the net. [default: 0]"),
    ):
        command = option(command)
    return command


def data_threads_option(command: F) -> F:
    """--data-threads: how many threads make the batches of a data layer."""
    return click.option(
        "--data-threads",
        type=click.IntRange(1),
        metavar="N",
        help="Threads that make the batches of a data layer ahead of their use. [default: one for "
        "every 4 CPUs; on a GPU for every one, up to 16]",
    )(command)


def layers_option(command: F) -> F:
    """--layers: types that are loaded besides ours."""
    return click.option(
        "--layers",
        type=FileName(),
        multiple=True,
        metavar="A,B",
        help="Python files or modules that register layer types of their own; repeatable.",
    )(command)


def layer_options(command: F) -> F:
    """--layers, --no-python-layers, --dialect: which layers a net may have, and what they mean."""
    for option in (
        dialect_option(),
        click.option(
            "--python-layers/--no-python-layers",
            default=True,
            help="Run the classes that layers of type Python name, or refuse nets that have any.",
        ),
        layers_option,
    ):
        command = option(command)
    return command


def _known_dialect(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The value of `--dialect`. Raises: click.BadParameter."""
    from caffepy.proto.dialects import check_dialect
    from caffepy.proto.errors import PrototxtError

    try:
        return check_dialect(value)
    except PrototxtError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def dialect_option(what: str = DIALECT) -> Callable[[F], F]:
    """--dialect: the fork that a net is of."""
    return click.option("--dialect", default="", metavar="NAME", callback=_known_dialect, help=what)


def reader_threads_option(command: F) -> F:
    """--threads: how many threads read and decode."""
    return click.option(
        "--threads",
        type=click.IntRange(1),
        metavar="N",
        callback=_all_cpus,
        help="Threads that read and decode. [default: one for each CPU]",
    )(command)


def conversion_options(command: F) -> F:
    """--resize_width to --encode_type, --threads, --resume: how images go into a database."""
    for option in (
        click.option(
            "--resume/--no-resume",
            default=True,
            help="Go on where the same conversion was interrupted, or start anew. [default: go on]",
        ),
        reader_threads_option,
        click.option("--encode_type", default="", help="Type of these files: png, jpg, ..."),
        click.option(
            "--encoded/--no-encoded", help="Store compressed image files instead of pixels."
        ),
        click.option("--check_size/--no-check_size", help="Stop at an image of another size."),
        click.option("--resize_height", default=0, help="Height to resize images to."),
        click.option("--resize_width", default=0, help="Width to resize images to."),
    ):
        command = option(command)
    return command


def _all_cpus(ctx: click.Context, param: click.Parameter, value: int | None) -> int:
    from caffepy.engine.machine import allowed_cpus

    return value or allowed_cpus()


def layer_types(
    layers: Iterable[str] = (), python_layers: bool = True
) -> Mapping[str, type[Layer]]:
    """The layer classes by type, as `layer_options` ask for them, with those of installed packages.

    Raises: NetError where one of the files cannot be loaded.
    """
    import caffepy.layers  # noqa: F401 - registers the layer types
    from caffepy.engine import extensions
    from caffepy.engine.core.registry import LAYERS
    from caffepy.layers.python import RefusedPythonLayer

    for names in layers:
        for name in split_list(names):
            extensions.load(name)
    extensions.load_installed()  # behind them: what is asked for wins over what is there
    return LAYERS if python_layers else {**LAYERS, "Python": RefusedPythonLayer}


def open_net(
    model: str,
    phase: str,
    level: int,
    stage: str,
    weights: str,
    ops: Ops,
    registry: Mapping[str, type[Layer]] | None = None,
    overrides: Sequence[Override] = (),
    keep: bool = True,
    data_threads: int | None = None,
    dialect: str = "",
) -> Net:
    """The net of a prototxt file, with the weights of the files a,b,... . phase: TRAIN or TEST.

    registry: the layer classes by type, all by default.  overrides: of the net's fields.  keep,
    data_threads, dialect: as in `Net`.
    """
    from caffepy.engine import opening
    from caffepy.engine.weights import load_weights
    from caffepy.proto.caffe_pb2 import NetParameter, NetState
    from caffepy.proto.overrides import override_net, refuse_absent
    from caffepy.proto.upgrade import upgrade_net

    state = NetState(phase=phase, level=level, stage=split_list(stage))

    def change(param: NetParameter) -> NetParameter:
        if not overrides:
            return param
        of_net = [replace(override, net=True) for override in overrides]
        changed, absent = override_net(upgrade_net(param), of_net, state.phase)
        if absent:
            refuse_absent(absent[0], [changed])
        return changed

    types = registry or layer_types()
    net = opening.open_net(
        model,
        state,
        ops=ops,
        registry=types,
        change=change,
        keep=keep,
        data_threads=data_threads,
        dialect=dialect,
    )
    for path in split_list(weights):
        load_weights(net, path)
    return net


def split_list(text: str) -> list[str]:
    """The members of a comma-separated list, without blanks and empty ones."""
    return [member.strip() for member in text.split(",") if member.strip()]
