"""README.md names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.tools import cli

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def test_every_layer_type_is_listed_in_order() -> None:
    section = README.partition("\n## Layers\n")[2].partition(".\n\n")[0]
    listed = re.sub(r"\s*\([^)]*\)", "", section).strip().rstrip(".")
    tree = {name for name, cls in LAYERS.items() if cls.__module__.startswith("caffepy.layers.")}
    assert listed.replace("\n", " ").split(", ") == sorted(tree, key=str.lower)


def test_every_option_that_is_named_exists() -> None:
    context = click.Context(cli.caffepy)
    known = {"--help", "--debug", "--flagfile"}
    for name in cli.COMMANDS:
        command = cli.caffepy.get_command(context, name)
        assert command is not None
        for option in command.params:
            known |= {*option.opts, *option.secondary_opts}
    assert set(re.findall(r"(?<!\w)--[a-z][a-z_-]*", README)) <= known


def test_every_command_is_named() -> None:
    assert set(cli.COMMANDS) <= set(re.findall(r"^\| `(\w+)", README, re.MULTILINE))
