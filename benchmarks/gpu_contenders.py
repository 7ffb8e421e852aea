"""What takes part in a benchmark of nets on a GPU: caffepy, and PyTorch as its users run it there:
channels_last, fused SGD, cudnn.benchmark; step by step (eager), and as a CUDA graph of whole steps.

The batch is on the device. A run of steps is queued, and waited for once, at its end.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from benchmarks.contenders import RATES, OurStep, Weights
from benchmarks.nets import batch_for
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.proto.caffe_pb2 import TRAIN, NetParameter

if TYPE_CHECKING:
    import torch

    from benchmarks.torch_net import TorchStep

OURS, EAGER, GRAPHS = "caffepy", "torch eager", "torch graphs"
CONTENDERS = (OURS, EAGER, GRAPHS)
WARM_UP = 5  # steps before a graph is made: cudnn.benchmark looks for algorithms in the first


class Contender(Protocol):
    """One training. loss: of the last step."""

    def run(self, steps: int) -> None:
        """So many iterations; they are done when it returns."""

    @property
    def loss(self) -> float:
        """Of the last iteration."""


class OurTraining:
    """A solver whose net finds its batch on the device, as if a data layer had just put it there:
    what the net makes of it in other layouts is made in each iteration."""

    def __init__(self, param: NetParameter, ops: Ops) -> None:
        self._step = OurStep(param, ops, TRAIN)
        assert self._step.solver is not None
        self._solver = self._step.solver
        self._solver.callbacks.append(_NewBatch(self._step.batch, ops))

    def run(self, steps: int) -> None:
        self._solver.step(steps)  # it ends with a look at what the device found wrong

    @property
    def loss(self) -> float:
        return self._step.loss


class _NewBatch(Callback):
    """Makes the batch new in each iteration."""

    def __init__(self, batch: list[Value], ops: Ops) -> None:
        assert isinstance(ops, CudaOps)
        self._batch = batch
        self._layout = ops.layout

    def on_iteration(self, solver: Training) -> None:
        for value in self._batch:
            value.modify(self._layout)


class TorchTraining:
    """PyTorch on `device`: a GPU, or the CPU for tests."""

    def __init__(self, step: Callable[[], None], source: TorchStep, device: str) -> None:
        self._step = step
        self._source = source
        self._device = device

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._step()
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize(self._device)

    @property
    def loss(self) -> float:
        return float(self._source.loss.detach())


def make(
    name: str, param: NetParameter, ops: Ops, weights: Weights, precision: str, device: str
) -> Contender:
    """One of CONTENDERS. ops: ours.  weights, precision, device: PyTorch's."""
    if name == OURS:
        return OurTraining(param, ops)
    import torch

    from benchmarks.torch_net import TorchStep

    if device != "cpu":
        if not torch.cuda.is_available():
            raise RuntimeError("PyTorch finds no GPU: is it a build for the CPU?")
        torch.cuda.set_device(device)  # a graph is made of work on the current one
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    step = TorchStep(
        param, batch_for(param), weights, phase=TRAIN, rates=RATES, device=device, half=half,
        memory_format=torch.channels_last,
    )  # fmt: skip
    return TorchTraining(_graph(step).replay if name == GRAPHS else step, step, device)


def _graph(step: TorchStep) -> torch.cuda.CUDAGraph:
    """A whole step, made as PyTorch's documentation says: gradients are None when it begins, so
    that they lie in the graph's memory and are written, not added to."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def free_memory() -> int | None:
    """The free bytes of the GPU that the calling thread uses, by its driver; None without one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    failed: int = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    return None if failed else free.value
