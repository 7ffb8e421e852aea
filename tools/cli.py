"""The command `caffepy` (and `caffe`): runs the sub-command, and words what goes wrong."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from caffepy import __version__
from caffepy.tools.arguments import normalise, option_table

# name: (module in caffepy.tools, help). Modules are imported when their command is called, so that
# `caffepy --help` loads nothing heavy.
COMMANDS = {
    "train": ("train_net", "Train or fine-tune a net by a solver prototxt."),
    "test": ("test_net", "Score weights on the test net of a prototxt."),
    "test_detection": ("test_detection", "Mean average precision of a detection net."),
    "time": ("time_net", "Time each layer, forward and backward."),
    "device_query": ("device_query", "What the GPUs are."),
    "compute_image_mean": ("compute_image_mean", "Mean image of a database."),
    "convert_imageset": ("convert_imageset", "Images and labels into a database."),
    "convert_annoset": ("convert_annoset", "Images and boxes of objects into a database."),
    "get_image_size": ("get_image_size", "Names and sizes of images, for DetectionOutput."),
    "create_label_map": ("create_label_map", "Names of classes and labels as a prototxt."),
    "convert_cifar": ("convert_cifar", "CIFAR's binary files into databases."),
    "convert_mnist": ("convert_mnist", "MNIST's IDX files into a database."),
    "extract_features": ("extract_features", "What blobs hold, into databases or files."),
    "upgrade_net_proto_text": ("upgrade_net_proto_text", "An old net prototxt in today's form."),
    "upgrade_net_proto_binary": ("upgrade_net_proto_binary", "An old caffemodel in today's form."),
    "upgrade_solver_proto_text": (
        "upgrade_solver_proto_text",
        "An old solver prototxt in today's form.",
    ),
    "parse_log": ("parse_log", "The numbers of a training log as CSV tables."),
    "plot_log": ("plot_log", "Curves of training logs as a picture."),
    "inspect": ("inspect_file", "What is inside weights, states, means, databases, HDF5."),
    "link_tools": ("link_tools", "Caffe's tools as files, for scripts that call them by path."),
    "doctor": ("doctor", "What is installed, what works, and what to do about the rest."),
    "layers": ("list_layers", "The layer types, or what one of them computes and takes."),
}


class _Commands(click.Group):
    """Sub-commands by name, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"caffepy.tools.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises: click.UsageError where there is no such command."""
        from caffepy.proto.errors import did_you_mean

        if args[0] not in COMMANDS and not args[0].startswith("-"):
            remedy = did_you_mean(args[0], COMMANDS) or " Choose one of them."
            ctx.fail(f"No such command '{args[0]}': expected one of {', '.join(COMMANDS)}.{remedy}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={
        "help_option_names": ["--help", "-h"],
        "token_normalize_func": lambda token: token.replace("_", "-"),  # of options only
    },
)
@click.version_option(__version__, prog_name="caffepy")
def caffepy() -> None:
    """Trains, tests and deploys Caffe prototxt nets.

    Options may be spelled as Caffe's tools take them: `-solver x`, `--solver=x`, `-noshuffle`,
    `-gray=false`, `--flagfile=f`. With --debug an error shows its traceback.
    """


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs a command line and exits: 0 done, 1 error, 2 wrong command line, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or "-debug" in arguments
    arguments = [token for token in arguments if token not in ("--debug", "-debug")]
    _open_missing_streams()
    sys.exit(_run(arguments, debug))


def _open_missing_streams() -> None:
    """Gives the standard streams that the caller has closed somewhere to go: the next file to be
    opened, a snapshot perhaps, would else get their number, and what is printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _run(arguments: list[str], debug: bool) -> int:
    from caffepy.engine.core import log
    from caffepy.proto.errors import CaffepyError

    log.start()
    try:
        result = caffepy.main(
            _click_arguments(arguments),
            prog_name="caffepy",
            standalone_mode=False,
            obj=["caffepy", *arguments],
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return 130
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except CaffepyError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"caffepy: {error}", err=True)
        return 1
    except UnicodeEncodeError as error:  # prototxt and weights hold their strings as UTF-8
        if debug:
            traceback.print_exc()
        click.echo(
            f"caffepy: '{error.object}': expected a name in UTF-8, got other bytes. Rename the "
            "file or folder.",
            err=True,
        )
        return 1
    except MemoryError as error:
        if debug:
            traceback.print_exc()
        click.echo(
            f"caffepy: not enough memory: {error}. Use a smaller batch_size or smaller images, or "
            "correct the sizes in the prototxt.",
            err=True,
        )
        return 1
    except OSError as error:
        if debug:
            traceback.print_exc()
        where = f"'{error.filename}': " if error.filename else ""
        click.echo(
            f"caffepy: {where}{error.strerror or error}. Check the path, its rights and the free "
            "space.",
            err=True,
        )
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        click.echo(f"caffepy: {_unexpected(error)}", err=True)
        return 1
    return result if isinstance(result, int) else 0


def _unexpected(error: Exception) -> str:
    """What to say of an exception that no command foresees."""
    try:
        from caffepy.engine.extensions import failure_in_layer
    except ModuleNotFoundError as missing:
        return (
            f"expected all that caffepy needs to be installed, got no module '{missing.name}'. "
            f"Install caffepy again with this Python: {sys.executable} -m pip install caffepy"
        )
    return failure_in_layer(error) or (
        f"a defect of caffepy itself: {type(error).__name__}: {error}. Please report it, with what "
        "`--debug` shows."
    )


def _click_arguments(arguments: list[str]) -> list[str]:
    """The command first, as click wants it (gflags takes options before it too), then its
    arguments."""
    place = next((i for i, token in enumerate(arguments) if token in COMMANDS), None)
    if place is None:
        long = {"-help": "--help", "-version": "--version"}
        return [long.get(token, token) for token in arguments] or ["--help"]
    name = arguments[place]
    command = caffepy.get_command(click.Context(caffepy), name)
    assert command is not None
    rest = arguments[:place] + arguments[place + 1 :]
    return [name, *normalise(rest, option_table(command))]
