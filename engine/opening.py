"""The net of a prototxt file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from caffepy.engine.core.layer import Layer
from caffepy.engine.memory import Memory
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import NetParameter, NetState


def open_net(
    model: str | os.PathLike[str],
    state: NetState,
    *,
    ops: Ops,
    registry: Mapping[str, type[Layer]],
    seed: int = 0,
    change: Callable[[NetParameter], NetParameter] | None = None,
    keep: bool = True,
    data_threads: int | None = None,
    dialect: str = "",
) -> Net:
    """Builds the net of a prototxt file, and logs how much memory it is predicted to take.

    state: phase, level and stages.  change: what is done to the file's message first.
    keep, data_threads, dialect: as in `Net`.
    Relative files are looked for in the working directory, then in the prototxt's folder.

    Raises: CaffepyError where it cannot be built, or has no layers.
    """
    param = text.read(model, NetParameter)
    memory = Memory(device=ops.device)
    net = Net(
        param if change is None else change(param),
        state,
        ops=ops,
        registry=registry,
        seed=seed,
        folders=(Path(), Path(model).resolve().parent),
        memory=memory,
        keep=keep,
        data_threads=data_threads,
        dialect=dialect,
    )
    net.check_layers()
    memory.log()
    return net
