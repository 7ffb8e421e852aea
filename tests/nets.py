"""Nets for tests, from text, a file or a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TRAIN, NetParameter, NetState


def make_net(
    net: str | Path | NetParameter,
    ops: Ops | None = None,
    *,
    phase: int = TRAIN,
    state: NetState | None = None,
    **options: Any,
) -> Net:
    """A net on the numpy backend where nothing else is said.

    state: phase, level and stages; the phase alone by default.  options: those of Net.
    """
    if isinstance(net, Path):
        net = text.read(net, NetParameter)
    elif isinstance(net, str):
        net = text.parse(net, NetParameter)
    state = state or NetState(phase=phase)  # type: ignore[arg-type]
    return Net(net, state, ops=ops or NumpyOps(), registry=LAYERS, **options)
