"""What takes part in a benchmark of nets: the engines of caffepy, and PyTorch in two formats.

All get the same weights, the same batch, and the same rates of SGD with momentum.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

import caffepy.layers  # noqa: F401 - registers the layer types
from benchmarks.nets import batch_for
from benchmarks.rounds import Step
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.select import make_ops
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.proto.caffe_pb2 import TEST, TRAIN, NetParameter, NetState, SolverParameter

if TYPE_CHECKING:
    from benchmarks.torch_net import TorchStep

Weights = dict[str, list[np.ndarray]]

OURS = ("numpy", "onednn")
TORCH = ("torch-nchw", "torch-channels_last")
RATES = {"base_lr": 1e-4, "momentum": 0.9, "weight_decay": 5e-4}


class OurStep:
    """Calling it does one iteration of a solver; in phase TEST a forward pass.

    Each call finds the batch as if a data layer had just written it: in plain memory, converted to
    the engine's layouts within the step.
    """

    def __init__(self, param: NetParameter, ops: Ops, phase: int) -> None:
        self.solver: Solver | None = None
        if phase == TRAIN:
            solver_param = SolverParameter(
                net_param=param, lr_policy="fixed", max_iter=1 << 30, random_seed=1, **RATES
            )
            self.solver = Solver(
                Settings(solver_param),
                ops=ops,
                registry=LAYERS,
                make_net=functools.partial(Net, keep=False),  # as caffepy's commands do
            )
            self.net = self.solver.net
        else:
            state = NetState(phase=TEST)
            self.net = Net(param, state, ops=ops, registry=LAYERS, seed=1, keep=False)
        self.batch = [top.data for top in self.net.tops[0]]
        for value, array in zip(self.batch, batch_for(param), strict=True):
            value.write()[...] = array
        for layer in self.net.layers:
            if layer.type == "BatchNorm":  # variance 1 from one sample, as PyTorch begins with
                for blob in layer.blobs[1:]:
                    blob.data.write()[...] = 1

    def __call__(self) -> None:
        for value in self.batch:
            value.modify()
        if self.solver is None:
            self.net.forward()
        else:
            self.solver.step(1)

    @property
    def loss(self) -> float:
        """Of the last call."""
        return float(self.net.loss.read())


def make_step(name: str, param: NetParameter, phase: int, threads: int) -> Step:
    """The step of one of OURS or TORCH; PyTorch's weights are those that ours begins with."""
    if name in OURS:
        return OurStep(param, make_ops(name, threads), phase)
    weights = weights_of(OurStep(param, make_ops("numpy"), TEST).net)
    return torch_step(name, param, phase, threads, weights)


def weights_of(net: Net) -> Weights:
    """Copies of the learnable blobs of all layers."""
    return {
        layer.name: [blob.data.read().copy() for blob in layer.blobs]
        for layer in net.layers
        if layer.blobs
    }


def torch_step(
    name: str, param: NetParameter, phase: int, threads: int, weights: Weights
) -> TorchStep:
    """The step of one of TORCH with given weights."""
    import torch

    from benchmarks.torch_net import TorchStep

    torch.set_num_threads(threads)
    channels_last = name == "torch-channels_last"
    return TorchStep(
        param, batch_for(param), weights, phase=phase, rates=RATES,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )  # fmt: skip
