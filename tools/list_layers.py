"""caffepy layers: the layer types, and what each computes and takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import click

from caffepy.tools.common import layer_types, layers_option


@click.command()
@click.argument("layer_type", metavar="[TYPE]", required=False)
@layers_option
def command(layer_type: str | None, layers: tuple[str, ...]) -> None:
    """Lists the layer types, Caffe's and those of its forks, or tells of one TYPE: its formula,
    bottoms, tops, fields with their defaults, what differs from Caffe, and an example."""
    types = layer_types(layers)
    if not layer_type:
        _list(types)
        return
    if layer_type not in types:
        from caffepy.engine.core.errors import NetError
        from caffepy.engine.known_types import unknown_type

        raise NetError(unknown_type(layer_type, types))
    click.echo(f"{layer_type}\n\n{_told(types[layer_type])}")


def _list(types: Mapping[str, type]) -> None:
    """Prints the types with what they compute: Caffe's, those of its forks, those of one's own."""
    from caffepy.engine.known_types import is_caffes

    sections: dict[str, list[tuple[str, str]]] = {"Caffe's": [], "Of its forks": [], "Loaded": []}
    for name, cls in types.items():
        ours = cls.__module__.startswith("caffepy.layers.")
        title = "Loaded" if not ours else "Caffe's" if is_caffes(name) else "Of its forks"
        sections[title].append((name, _told(cls).partition("\n\n")[0]))
    formatter = click.HelpFormatter(max_width=100)
    for title, lines in sections.items():
        if lines:
            with formatter.section(title):
                formatter.write_dl(lines)
    click.echo(formatter.getvalue(), nl=False)


def _told(cls: type) -> str:
    """The docstring of a class, none of its bases'."""
    return inspect.cleandoc(cls.__doc__ or "It has no docstring.")
