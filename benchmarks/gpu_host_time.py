"""python -m benchmarks.gpu_host_time: what the host does in an iteration on the GPU engine.

No GPU takes part: the runtime here does nothing of what it is asked. What is left is the time that
Python takes between two launches, in microseconds of an iteration; a GPU that is done sooner waits
for it. What cupy takes for a launch comes on top of it, 2 to 5 microseconds each; so launches are
counted too: of graphs, and of kernels and copies beside them.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.gpu_contenders import WARM_UP, OurTraining
from benchmarks.nets import NETS
from benchmarks.rounds import measure
from caffepy.engine.core.layout import Buffer, Layout
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.layout import DeviceLayout
from caffepy.engine.ops.cuda.port import ConvolutionPlan, DeviceProperties, Dnn, Product

MEMORY = 1 << 40
ITERATIONS = 100  # of which the end is waited for


class _Nothing:
    """An event, a graph: whatever it stands for is done at once."""

    def __init__(self, launched: Callable[[], None]) -> None:
        self.launch = launched

    def milliseconds_since(self, earlier: Any) -> float:
        return 0.0


class IdleRuntime:
    """A CudaRuntime that keeps memory, and does no work. graphs, others: launches so far."""

    def __init__(self) -> None:
        self.layout: Layout = DeviceLayout(self)
        self.capturing = False
        self.dnn: Dnn | str = "no work, no cuDNN"
        self.graphs = self.others = 0

    def allocate(self, count: int, dtype: np.dtype) -> Buffer:
        return np.zeros(count, dtype)

    def clear(self, buffer: Buffer) -> None:
        self.others += not self.capturing

    def copy(self, source: Buffer, target: Buffer) -> None:
        self.others += not self.capturing

    def upload(self, source: np.ndarray, buffer: Buffer) -> None:
        self.others += 1

    def download(self, buffer: Buffer, target: np.ndarray) -> None:
        target[...] = 0  # nothing is wrong

    def memory(self) -> tuple[int, int]:
        return MEMORY, MEMORY

    def build(self, source: str, name: str, element: str) -> None:
        """Nothing."""

    def launch(
        self, program: Any, kernel: str, count: int, arguments: Sequence[Buffer | np.generic]
    ) -> None:
        self.others += not self.capturing

    launch_rows = launch

    def multiply(
        self, product: Product, a: Buffer, b: Buffer, out: Buffer, precision: str = "fp32"
    ) -> None:
        self.others += not self.capturing

    def convolve(
        self, plan: ConvolutionPlan, operands: Sequence[Buffer], workspace: Buffer
    ) -> None:
        self.others += not self.capturing

    def capture(self, run: Callable[[], None]) -> _Nothing:
        self.capturing = True
        try:
            run()
        finally:
            self.capturing = False
        return _Nothing(self._launch_graph)

    def _launch_graph(self) -> None:
        self.graphs += 1

    def record(self) -> _Nothing:
        return _Nothing(self.synchronize)

    def synchronize(self) -> None:
        """All is done."""

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.empty(shape, dtype)

    def upload_ahead(self, source: np.ndarray, buffer: Buffer) -> _Nothing:
        return self.record()

    def wait_for(self, event: Any) -> None:
        """It has come."""

    def properties(self) -> DeviceProperties:
        raise NotImplementedError("no GPU takes part")


def main() -> None:
    """Prints a line for each net."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", default=",".join(NETS), help="default: all")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    for net in given.nets.split(","):
        if net not in NETS:
            parser.error(f"--nets: expected some of {', '.join(NETS)}, got '{net}'.")
    print(f"{'net':<16}{'us':>8}{'fastest':>9}{'graphs':>8}{'others':>8}")
    for net in given.nets.split(","):
        device = IdleRuntime()
        training = OurTraining(NETS[net].param(1), CudaOps(device))
        training.run(WARM_UP)
        before = device.graphs, device.others
        training.run(ITERATIONS)
        graphs, others = (
            (now - then) / ITERATIONS
            for now, then in zip((device.graphs, device.others), before, strict=True)
        )
        turn = functools.partial(training.run, ITERATIONS)
        found = measure({net: turn}, given.rounds, 0.1).ms[net]
        us = [ms * 1e3 / ITERATIONS for ms in sorted(found)]
        print(
            f"{NETS[net].title:<16}{us[len(us) // 2]:8.0f}{us[0]:9.0f}{graphs:8.1f}{others:8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
