"""The two orders of arguments that pycaffe's Net takes."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from typing import SupportsIndex

from caffepy.engine import pymode
from caffepy.engine.core import log
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.opening import open_net
from caffepy.engine.ops.base import Ops
from caffepy.engine.usercode import raising_as_user
from caffepy.engine.weights import load_weights
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetState, Phase
from caffepy.proto.errors import did_you_mean

FileName = str | os.PathLike[str]
PHASES: dict[str, int] = dict(Phase.items())

_ARGUMENTS = ("phase", "level", "stages", "weights", "ops", "on_mismatch", "dialect")


def build_with_weights(
    network_file: FileName,
    weights: FileName,
    phase: int | str | None = None,
    *,
    ops: Ops | None = None,
    on_mismatch: str = "error",
    dialect: str = "",
    **unknown: object,
) -> Net:
    """The old order of arguments. Raises: TypeError where there is no phase."""
    _refuse_misuse(network_file, unknown)
    if phase is None:
        raise TypeError(
            f"Net('{os.fspath(network_file)}', '{os.fspath(weights)}'): expected a phase, got "
            "none. Write Net(network_file, caffe.TEST, weights=...)."
        )
    return build(
        network_file, phase, weights=weights, ops=ops, on_mismatch=on_mismatch, dialect=dialect
    )


def build(
    network_file: FileName,
    phase: int | str | None = None,
    level: int = 0,
    stages: Sequence[str] | None = None,
    weights: FileName | None = None,
    *,
    ops: Ops | None = None,
    on_mismatch: str = "error",
    dialect: str = "",
    **unknown: object,
) -> Net:
    """Builds a net, its arguments as in pynet.Net.__init__. Raises: CaffepyError, TypeError."""
    _refuse_misuse(network_file, unknown)
    number = PHASES.get(phase) if isinstance(phase, str) else phase
    if number not in (TRAIN, TEST):
        raise TypeError(
            f"Net('{os.fspath(network_file)}'): expected phase caffe.TRAIN or caffe.TEST, got "
            f"{phase!r}. The phase comes after the file."
        )
    if isinstance(stages, str):
        raise TypeError(f"stages: expected a list of names, got '{stages}'. Write ['{stages}'].")
    if not all(isinstance(stage, str) for stage in stages or ()):
        raise TypeError(f"stages: expected a list of names, got {stages!r}. Write them in quotes.")
    if not isinstance(level, SupportsIndex):
        raise TypeError(
            f"Net('{os.fspath(network_file)}'): level: expected a whole number, got {level!r}. "
            "Weights after the phase need their name: weights=..."
        )
    ops = pymode.begin(ops)
    name = Phase.Name(number)
    state = NetState(phase=name, level=operator.index(level), stage=stages or ())
    seed = pymode.next_seed()
    net = raising_as_user(
        lambda: open_net(network_file, state, ops=ops, registry=LAYERS, seed=seed, dialect=dialect)
    )
    if weights is not None:
        try:
            table = load_weights(net, weights, on_mismatch=on_mismatch)
        except BaseException:
            net.close()
            raise
        if on_mismatch == "skip":
            log.info(f"What was copied:\n{table}")
    return net


def _refuse_misuse(network_file: object, unknown: Iterable[str]) -> None:
    """Raises: TypeError where the file is no file's name, or there are arguments of other names."""
    if not isinstance(network_file, str | os.PathLike) or "\n" in str(network_file):
        got = "text" if isinstance(network_file, str) else f"a {type(network_file).__name__}"
        raise TypeError(
            f"Net: network_file: expected the name of a prototxt file, got {got}. Write the text "
            "of a net that was made in Python to a file first, str(spec.to_proto()) of a NetSpec."
        )
    for name in unknown:
        remedy = did_you_mean(name, _ARGUMENTS) or f" There are {', '.join(_ARGUMENTS)}."
        raise TypeError(
            f"Net('{os.fspath(network_file)}'): expected the name of an argument, got '{name}'."
            f"{remedy}"
        )
