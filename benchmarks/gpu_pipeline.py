"""python -m benchmarks.gpu_pipeline: whether a GPU waits for its batches.

A net (GoogLeNet with 128 images by default) is trained from an LMDB of raw 256 x 256 images, made
up and read from the system's file cache, in each way that batches come:

bytes  cropped by the data threads, copied ahead from pinned memory, the rest done on the GPU
kept   the records stay on the GPU (--cache device)

busy: the time from where a batch had arrived to the end of the update, by events of the device,
summed, of the time from the end of the first iteration to that of the last; and so 100 % where no
batch is waited for. on the device: milliseconds of an iteration whose batch is there already.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caffepy.layers  # noqa: F401 - registers the layer types
from benchmarks.gpu import gpu_ops
from benchmarks.gpu_contenders import OurTraining
from benchmarks.lmdb_nets import FEEDS, write_training
from benchmarks.nets import NETS
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.cuda.backend import PRECISIONS, CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime, Event
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver

WARM_UP = 12  # iterations: graphs are made, records kept
WAYS = {"bytes": False, "kept": True}  # whether the records stay on the device
AIM = 0.95

MakeOps = Callable[[bool], CudaOps]


@dataclass(frozen=True)
class Fed:
    """ms: of an iteration, by the wall clock.  busy: the device's share of the time."""

    ms: float
    busy: float


class _Points(Callback):
    """Events where batches have arrived and where iterations end. Looking at them is for later."""

    def __init__(self, device: CudaRuntime) -> None:
        self._device = device
        self._wait = device.wait_for
        self._begun: Event | None = None
        self.spans: list[tuple[Event, Event]] = []

    def wait_for(self, event: Any) -> None:
        """In place of the device's: the end of a batch's copy."""
        self._wait(event)
        self._begun = self._device.record()

    def on_updated(self, solver: Training) -> None:
        assert self._begun is not None, "each iteration waits for its batch"
        self.spans.append((self._begun, self._device.record()))
        self._begun = None

    @property
    def busy(self) -> float:
        (_, first), *rest = self.spans
        worked = sum(end.milliseconds_since(begun) for begun, end in rest)
        return worked / rest[-1][1].milliseconds_since(first)


def train(solver_file: Path, ops: CudaOps, iterations: int) -> Fed:
    """Trains in the solver's folder."""
    with _working_in(solver_file.parent):
        solver = Solver(
            Settings.read(solver_file.name),
            ops=ops,
            registry=LAYERS,
            make_net=functools.partial(Net, keep=False),
            honour_mode=False,
        )
    try:
        solver.step(WARM_UP)
        points = _Points(ops.runtime)
        solver.callbacks.append(points)
        ops.runtime.wait_for = points.wait_for  # type: ignore[method-assign]
        try:
            started = time.perf_counter()
            solver.step(iterations)
            elapsed = time.perf_counter() - started
        finally:
            del ops.runtime.wait_for
        return Fed(elapsed * 1e3 / iterations, points.busy)
    finally:
        solver.close()


def run(
    net: str, make_ops: MakeOps, iterations: int, batch: int, records: int | None
) -> Iterator[str]:
    """A line for each way. make_ops: whether records are kept."""
    training = OurTraining(NETS[net].param(batch), make_ops(False))
    training.run(WARM_UP)
    started = time.perf_counter()
    training.run(iterations)
    yield f"on the device   {(time.perf_counter() - started) * 1e3 / iterations:9.3f} ms"
    del training
    with tempfile.TemporaryDirectory() as name:
        solver_file = write_training(Path(name), net, 1 << 30, batch, records)
        for way, keeps in WAYS.items():
            fed = train(solver_file, make_ops(keeps), iterations)
            mark = "" if fed.busy >= AIM else "  *"
            yield (
                f"{way:<16}{fed.ms:9.3f} ms{batch * 1e3 / fed.ms:10.0f} images/s   busy "
                f"{100 * fed.busy:5.1f} %{mark}"
            )


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> None:
    """Prints the lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", default="0", metavar="ID")
    parser.add_argument("--net", choices=FEEDS, default="googlenet")
    parser.add_argument("--batch", type=int, help="default: the net's on a GPU")
    parser.add_argument("--records", type=int, help="default: the net's")
    parser.add_argument("--precision", choices=PRECISIONS, default="tf32")
    parser.add_argument("--iterations", type=int, default=200)
    given = parser.parse_args()
    batch = given.batch or NETS[given.net].gpu_batch
    print(f"{NETS[given.net].title} ({batch}), {given.precision}, {given.iterations} iterations")

    make_ops = functools.partial(gpu_ops, given.gpu, given.precision)  # and keep_data
    for line in run(given.net, make_ops, given.iterations, batch, given.records):
        print(line, flush=True)


if __name__ == "__main__":
    main()
