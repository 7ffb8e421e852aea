"""caffepy layers: the layer types, and what each computes and takes."""

from __future__ import annotations

import inspect

import click

from caffepy.tools.common import layer_types, layers_option


@click.command()
@click.argument("layer_type", metavar="[TYPE]", required=False)
@layers_option
def command(layer_type: str | None, layers: tuple[str, ...]) -> None:
    """Lists the layer types, or tells of one TYPE: its formula, bottoms, tops, fields with their
    defaults, what differs from Caffe, and an example."""
    types = layer_types(layers)
    if not layer_type:
        lines = [(name, _told(cls).partition("\n\n")[0]) for name, cls in types.items()]
        formatter = click.HelpFormatter(max_width=100)
        formatter.write_dl(lines)
        click.echo(formatter.getvalue(), nl=False)
        return
    if layer_type not in types:
        from caffepy.engine.core.errors import NetError
        from caffepy.engine.known_types import unknown_type

        raise NetError(unknown_type(layer_type, types))
    click.echo(f"{layer_type}\n\n{_told(types[layer_type])}")


def _told(cls: type) -> str:
    """The docstring of a class, none of its bases'."""
    return inspect.cleandoc(cls.__doc__ or "It has no docstring.")
