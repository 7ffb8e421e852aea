"""What a net remembers from pass to pass besides its parameters."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core import log
from caffepy.engine.net import Net


def net_state(net: Net) -> dict[str, Any]:
    """How many passes it has done, and what its layers remember."""
    layers = {layer.key: state for layer in net.layers if (state := layer.state())}
    return {"passes": net.passes.value, "layers": layers}


def restore_net(net: Net, saved: dict[str, Any]) -> None:
    """Takes back what `net_state` gave, of this net or one like it."""
    net.passes.value = saved["passes"]
    for layer in net.layers:
        if layer.key in saved["layers"]:
            layer.restore(saved["layers"][layer.key])
        elif layer.state():
            log.warning(
                f"{layer.where}: expected its state in the snapshot, got none: it starts from the "
                "beginning. Give the layer the name it had to go on exactly."
            )
