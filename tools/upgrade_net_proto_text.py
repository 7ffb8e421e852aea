"""caffepy upgrade_net_proto_text: an old net prototxt in today's form."""

from __future__ import annotations

import click


@click.command()
@click.argument("input_file")
@click.argument("output_file")
def command(input_file: str, output_file: str) -> None:
    """Writes the net prototxt INPUT_FILE, of any age, to OUTPUT_FILE in today's form.

    V0 and V1 layers, transformation fields outside transform_param, `input` fields, and learning
    rates of BatchNorm's statistics are brought up to date. Comments are lost.
    """
    from caffepy.proto import text
    from caffepy.proto.caffe_pb2 import NetParameter
    from caffepy.tools import upgrade_proto

    net = upgrade_proto.upgraded_net(text.read(input_file, NetParameter), input_file)
    upgrade_proto.write(text.write(net), output_file, "NetParameter text proto")
