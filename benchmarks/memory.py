"""The peak memory of a step, measured in a process of its own.

python -m benchmarks.memory NET ENGINE TRAIN|TEST THREADS prints bytes: the most that the process
had resident while it made the net and ran some steps, less what it had after its imports.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.contenders import OURS, OurStep, Weights, torch_step
from benchmarks.nets import NETS
from benchmarks.rounds import Step
from caffepy.engine import filler
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.select import make_ops
from caffepy.proto.caffe_pb2 import TEST, NetParameter, NetState, Phase

STEPS = 3
STATUS = Path("/proc/self/status")


def peak_bytes(net: str, engine: str, phase: str, threads: int) -> int | None:
    """What a process of its own prints; None where the system does not count it.

    Raises: subprocess.CalledProcessError, after the process has said why.
    """
    if not STATUS.exists():
        return None
    command = [sys.executable, "-m", "benchmarks.memory", net, engine, phase, str(threads)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _measure(net: str, engine: str, phase: str, threads: int) -> int:
    param, number = NETS[net].param(), Phase.Value(phase)
    if engine in OURS:
        ops = make_ops(engine, threads)
        before = _resident("VmRSS")
        step: Step = OurStep(param, ops, number)
    else:
        import torch  # noqa: F401 - counted as an import

        weights = _of_the_right_shapes(param)
        gc.collect()
        before = _resident("VmRSS")
        step = torch_step(engine, param, number, threads, weights)
    for _ in range(STEPS):
        step()
    return _resident("VmHWM") - before


def _of_the_right_shapes(param: NetParameter) -> Weights:
    """Weights for PyTorch that take no memory: all elements of a blob are one."""
    with mock.patch.object(filler, "fill"):
        net = Net(param, NetState(phase=TEST), ops=make_ops("numpy"), registry=LAYERS)
    some = np.float32(0.01)
    return {
        layer.name: [np.broadcast_to(some, blob.shape) for blob in layer.blobs]
        for layer in net.layers
    }


def _resident(which: str) -> int:
    """VmRSS now, VmHWM at the most; bytes."""
    (line,) = (one for one in STATUS.read_text().splitlines() if one.startswith(f"{which}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    _, *names, count = sys.argv
    print(_measure(names[0], names[1], names[2], int(count)))
