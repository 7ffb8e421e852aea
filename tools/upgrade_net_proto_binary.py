"""caffepy upgrade_net_proto_binary: an old caffemodel in today's form."""

from __future__ import annotations

import click


@click.command()
@click.argument("input_file")
@click.argument("output_file")
def command(input_file: str, output_file: str) -> None:
    """Writes the binary net INPUT_FILE, a caffemodel of any age, to OUTPUT_FILE in today's form,
    with its weights."""
    from google.protobuf.message import DecodeError

    from caffepy.engine.core.errors import WeightsError
    from caffepy.proto import weights
    from caffepy.proto.caffe_pb2 import NetParameter
    from caffepy.proto.fields import strip_private
    from caffepy.tools import upgrade_proto

    weights.read(input_file)  # refuses what is no such file, and says what it is
    try:
        with open(input_file, "rb") as file:
            net = NetParameter.FromString(file.read())
    except DecodeError:
        raise WeightsError(
            f"{input_file}: expected a NetParameter message, got one that protobuf cannot read: "
            "it is damaged, or a fork's. Fetch it again."
        ) from None
    upgraded = strip_private(upgrade_proto.upgraded_net(net, input_file))
    data = upgraded.SerializeToString(deterministic=True)
    upgrade_proto.write(data, output_file, "NetParameter binary proto")
