"""What the upgrade commands share: the upgraded message, in Caffe's log lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffepy.proto.caffe_pb2 import NetParameter

_FUTURE = "Note that future Caffe releases will "
# By the old form: its name in Caffe's lines, how the line of success calls it, and what follows.
_LINES = {
    "V0 layers": (
        "specified using deprecated V0LayerParameter",
        "file specified using deprecated V0LayerParameter",
        f"{_FUTURE}not support V0NetParameter; use upgrade_net_proto_text for prototxt and "
        "upgrade_net_proto_binary for model weights upgrade this and any other net protos to the "
        "new format.",
    ),
    "transformation fields": (
        "specified using deprecated transformation parameters",
        "file specified using deprecated data transformation parameters.",
        f"{_FUTURE}only support transform_param messages for transformation fields.",
    ),
    "V1 layers": (
        "specified using deprecated V1LayerParameter",
        "file specified using deprecated V1LayerParameter",
        "",
    ),
    "input fields": (
        "specified using deprecated input fields",
        "file specified using deprecated input fields.",
        f"{_FUTURE}only support input layers and not input fields.",
    ),
    "BatchNorm params": ("", "batch norm layers using deprecated params.", ""),
}


def upgraded_net(net: NetParameter, source: str) -> NetParameter:
    """The net in today's form; the log says which old forms it had. Raises: PrototxtError."""
    from caffepy.engine.core import log
    from caffepy.proto.upgrade import upgrades

    steps = list(upgrades(net))
    for form, upgraded in steps:
        kind, success, future = _LINES[form]
        what = f"input file {kind}" if kind else "batch norm layers using deprecated params"
        log.info(f"Attempting to upgrade {what}: {source}")
        log.info(f"Successfully upgraded {success}")
        if future:
            log.warning(future)
        net = upgraded
    if not steps:
        log.error(f"File already in latest proto format: {source}")
    return net


def write(text: str | bytes, path: str, kind: str) -> None:
    """Writes an output file. kind: of message, for the log. Raises: SaveError."""
    from caffepy.engine.core import log
    from caffepy.engine.files import written_whole

    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    with written_whole(Path(path)) as temporary:
        temporary.write_bytes(data)
    log.info(f"Wrote upgraded {kind} to {path}")
