"""What oneDNN's ops see of their backend."""

from __future__ import annotations

from typing import Protocol

from caffepy.engine.ops.numpy.arrays import HostOps
from caffepy.engine.ops.onednn.execution import Scratchpad


class PrimitiveOps(HostOps, Protocol):
    """A backend whose primitives share one scratchpad."""

    scratchpad: Scratchpad
