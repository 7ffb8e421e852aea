"""The two orders of arguments that pycaffe's Net takes."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence

from caffepy.engine import pymode
from caffepy.engine.core import log
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.opening import open_net
from caffepy.engine.ops.base import Ops
from caffepy.engine.usercode import raising_as_user
from caffepy.engine.weights import load_weights
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetState, Phase

FileName = str | os.PathLike[str]
PHASES: dict[str, int] = dict(Phase.items())


def build_with_weights(
    network_file: FileName,
    weights: FileName,
    phase: int | str | None = None,
    ops: Ops | None = None,
    on_mismatch: str = "error",
) -> Net:
    """The old order of arguments. Raises: TypeError where there is no phase."""
    if phase is None:
        raise TypeError(
            f"Net('{os.fspath(network_file)}', '{os.fspath(weights)}'): expected a phase, got "
            "none. Write Net(network_file, caffe.TEST, weights=...)."
        )
    return build(network_file, phase, weights=weights, ops=ops, on_mismatch=on_mismatch)


def build(
    network_file: FileName,
    phase: int | str | None = None,
    level: int = 0,
    stages: Sequence[str] | None = None,
    weights: FileName | None = None,
    ops: Ops | None = None,
    on_mismatch: str = "error",
) -> Net:
    """Builds a net, its arguments as in pynet.Net.__init__. Raises: CaffepyError, TypeError."""
    number = PHASES.get(phase) if isinstance(phase, str) else phase
    if number not in (TRAIN, TEST):
        raise TypeError(
            f"Net('{os.fspath(network_file)}'): expected phase caffe.TRAIN or caffe.TEST, got "
            f"{phase!r}. The phase comes after the file."
        )
    if isinstance(stages, str):
        raise TypeError(f"stages: expected a list of names, got '{stages}'. Write ['{stages}'].")
    ops = pymode.begin(ops)
    name = Phase.Name(number)
    state = NetState(phase=name, level=operator.index(level), stage=stages or ())
    seed = pymode.next_seed()
    net = raising_as_user(
        lambda: open_net(network_file, state, ops=ops, registry=LAYERS, seed=seed)
    )
    if weights is not None:
        table = load_weights(net, weights, on_mismatch=on_mismatch)
        if on_mismatch == "skip":
            log.info(f"What was copied:\n{table}")
    return net
