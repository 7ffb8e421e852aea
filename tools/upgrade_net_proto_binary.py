"""caffepy upgrade_net_proto_binary: an old caffemodel in today's form."""

from __future__ import annotations

import click

from caffepy.tools.common import dialect_option


@click.command()
@click.argument("input_file")
@click.argument("output_file")
@dialect_option("Number the forks' blocks as this fork does. [default: as INPUT_FILE does]")
def command(input_file: str, output_file: str, dialect: str) -> None:
    """Writes the binary net INPUT_FILE, a caffemodel of any age and fork, to OUTPUT_FILE in today's
    form, with its weights.

    Blocks of forks that share a number are told apart by the layer's type; what is unknown is
    written back as it is. NVCaffe's raw weights become such as Caffe reads.
    """
    from caffepy.proto import renumber, weights
    from caffepy.tools import upgrade_proto

    layers = weights.read(input_file)  # refuses what is no such file, and says what it is
    with open(input_file, "rb") as file:
        found = renumber.decode(file.read(), input_file)
    if len(found.net.layer) == len(layers):
        for layer, read in zip(found.net.layer, layers, strict=True):
            weights.fill_raw(layer, read)
    upgraded = upgrade_proto.upgraded_net(found.net, input_file)
    data = renumber.encode(upgraded, dialect=dialect, numbers=found.numbers)
    upgrade_proto.write(data, output_file, "NetParameter binary proto")
