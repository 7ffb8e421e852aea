"""Command lines in gflags' spellings, as scripts for Caffe write them, turned into click's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

_TRUE = {"true", "t", "1", "yes", "y"}
_FALSE = {"false", "f", "0", "no", "n"}
# What scripts for Caffe say to have the log on stderr, where it goes anyway.
_OF_GLOG = {"logtostderr", "alsologtostderr", "colorlogtostderr"}


def option_table(command: click.Command) -> dict[str, bool]:
    """The long options of a command by name, without dashes and with `_` for `-`; True for
    switches."""
    table = {"help": True}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for spelling in parameter.opts:
                if spelling.startswith("--"):
                    table[_name(spelling)] = parameter.is_flag
    return table


def normalise(argv: Sequence[str], options: Mapping[str, bool]) -> list[str]:
    """Rewrites gflags' forms of the given options into `--name value` and `--name` / `--no-name`.

    `-name value`, `-name=value`, `--name=value`, `--name value`, `-name`, `-noname`,
    `--name=false`, `-` for `_` in names; `--flagfile FILE` reads more of them from a file, one or
    more to a line, `#` starting a comment; glog's `--logtostderr` is dropped. What is not a known
    option stays, as a long one, for click to judge; after `--` nothing is changed.

    Raises: click.UsageError where a switch is given a value that is neither true nor false, or a
    flag file cannot be read.
    """
    result: list[str] = []
    waiting = list(argv)
    flag_files: set[Path] = set()
    while waiting:
        token = waiting.pop(0)
        if token == "--":
            return [*result, token, *waiting]
        if not token.startswith("-") or token == "-":
            result.append(token)
            continue
        name, equals, value = token.partition("=")
        name = _name(name)
        if name == "flagfile":
            path = Path(value if equals else waiting.pop(0) if waiting else "")
            if path.resolve() not in flag_files:  # a file that names itself would have no end
                waiting[:0] = _flag_file(path)
            flag_files.add(path.resolve())
        elif name in _OF_GLOG:
            continue
        elif name in options:
            result.append(f"--{name}")
            if options[name]:
                if equals and not _truth(name, value):
                    result[-1] = f"--no-{name}"
            elif equals:
                result.append(value)
            elif waiting:
                result.append(waiting.pop(0))
        elif name.startswith("no") and options.get(name[2:].lstrip("_")):
            result.append(f"--no-{name[2:].lstrip('_')}")
        else:  # one dash more, so that click does not read a bundle of short options
            result.append(token if token.startswith("--") or len(token) == 2 else f"-{token}")
    return result


def _name(spelling: str) -> str:
    return spelling.lstrip("-").replace("-", "_")


def _truth(name: str, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise click.UsageError(f"--{name}: expected true or false, got '{value}'.")


def _flag_file(path: Path) -> list[str]:
    try:
        return shlex.split(path.read_text(encoding="utf-8-sig"), comments=True)
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a quote without its end
        reason = getattr(error, "strerror", None) or error
        raise click.UsageError(
            f"--flagfile '{path}': cannot be read: {reason}. Give a text file of options."
        ) from error
