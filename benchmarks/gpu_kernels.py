"""python -m benchmarks.gpu_kernels: how near kernels come to what a GPU can do.

Kernels that wait for memory: the bytes that a pass must move, over its time, as a share of what a
copy from device to device moved in the same rounds (its bytes count twice: read and written).
Shares below MARK are marked. Convolutions and products: Tflop/s in each precision, two for each
multiplication with its addition.

What a pass must move, in blobs; x is a blob of --mb, y what a pooling leaves of it:
  activation   forward: x read, y written; backward: dy and x (or y) read, dx written
  Pooling      MAX forward: x read, y and a byte for each choice written; backward: these and dx;
               AVE: x and y
  LRN          forward: x, y; backward: dy and x read, dx written
  BatchNorm    forward: x read twice, y written; backward: dy and x read twice, dx written
  Softmax      forward: x, y; backward: dy and y read, dx written
  Eltwise SUM  forward: both x read, y written; backward: dy read, both dx written
  Scale        forward: x, y; backward: dy and x read, dx written
  Dropout      x and y; its mask, a bit for each, does not count
  Concat       forward: both x read, y written, which is as large as both; backward the same
  updates      parameters, gradients and history read, all but gradients written
A pass that reads again what it should hold on to shows as a low share. Passes run as graphs.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import caffepy.layers  # noqa: F401 - registers the layer types
from benchmarks.gpu import gpu_ops
from caffepy.engine import single_layer
from caffepy.engine.core.record import recorded
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.backend import PRECISIONS, CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime

Shape = tuple[int, ...]
Launch = Callable[[], None]

MARK = 0.85
PLANE = 64, 56, 56  # (C, H, W) of the blobs, as many samples as make up --mb
CLASSES = 1000
MOST = 1000  # launches between two events
TURN_MS = 20.0  # between two events, about
MOMENTUM = {"rate": 1e-9, "scale": 1.0, "decay": 5e-4, "momentum": 0.9}


@dataclass(frozen=True)
class Kernel:
    """A layer whose passes wait for memory.

    shapes: of its bottoms.  forward, backward: elements that a pass must move, of the bytes of
    one; each made of the elements of the first bottom and of the top.
    """

    title: str
    fields: str
    shapes: tuple[Shape, ...]
    forward: Callable[[int, int], float]
    backward: Callable[[int, int], float]


def kernels(shape: Shape) -> list[Kernel]:
    """The layers, on blobs (N, C, H, W)."""
    count = math.prod(shape)
    rows = (max(1, count // CLASSES), CLASSES)
    half = (max(1, shape[0] // 2), *shape[1:])

    def activation(kind: str) -> Kernel:
        return Kernel(kind, f'type: "{kind}"', (shape,), lambda x, y: 2 * x, lambda x, y: 3 * x)

    def pooling(method: str, choice: float) -> Kernel:
        fields = f"pooling_param {{ pool: {method} kernel_size: 3 stride: 2 }}"
        return Kernel(
            f"Pooling {method} 3x3 stride 2",
            f'type: "Pooling" {fields}',
            (shape,),
            lambda x, y: x + (1 + choice) * y,
            lambda x, y: x + (1 + choice) * y,
        )

    return [
        activation("ReLU"),
        activation("Sigmoid"),
        activation("TanH"),
        pooling("MAX", 0.25),
        pooling("AVE", 0),
        Kernel(
            "LRN across 5", 'type: "LRN" lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }',
            (shape,), lambda x, y: 2 * x, lambda x, y: 3 * x,
        ),
        Kernel(
            "BatchNorm", 'type: "BatchNorm"', (shape,), lambda x, y: 3 * x, lambda x, y: 5 * x
        ),
        Kernel("Softmax", 'type: "Softmax"', (rows,), lambda x, y: 2 * x, lambda x, y: 3 * x),
        Kernel(
            "Eltwise SUM", 'type: "Eltwise"', (shape, shape), lambda x, y: 3 * x, lambda x, y: 3 * x
        ),
        Kernel(
            "Scale", 'type: "Scale" scale_param { bias_term: true }', (shape,),
            lambda x, y: 2 * x, lambda x, y: 3 * x,
        ),
        Kernel("Dropout", 'type: "Dropout"', (shape,), lambda x, y: 2 * x, lambda x, y: 2 * x),
        Kernel(
            "Concat", 'type: "Concat"', (half, half), lambda x, y: 2 * y, lambda x, y: 2 * y
        ),
    ]  # fmt: skip


SLOTS = {"sgd": 1, "adam": 2}  # histories of a rule
NUMBERS = {"sgd": MOMENTUM, "adam": {**MOMENTUM, "momentum2": 0.999, "delta": 1e-8, "shrink": 0.0}}


@dataclass(frozen=True)
class Work:
    """A layer that multiplies: its fields and the shape of its bottom."""

    title: str
    fields: str
    shape: Shape


def works(batch: int) -> list[Work]:
    """Convolutions of well-known nets, and a product."""

    def convolution(title: str, fields: str, *shape: int) -> Work:
        param = f'convolution_param {{ {fields} weight_filler {{ type: "xavier" }} }}'
        return Work(f"convolution {title}", f'type: "Convolution" {param}', (batch, *shape))

    depthwise = "num_output: 512 group: 512"
    fully = 'inner_product_param { num_output: 4096 weight_filler { type: "xavier" } }'
    return [
        convolution("11x11 stride 4", "num_output: 96 kernel_size: 11 stride: 4", 3, 227, 227),
        convolution("3x3 64", "num_output: 64 kernel_size: 3 pad: 1", 64, 56, 56),
        convolution("1x1 256 to 64", "num_output: 64 kernel_size: 1", 256, 56, 56),
        convolution("3x3 512", "num_output: 512 kernel_size: 3 pad: 1", 512, 7, 7),
        convolution("3x3 depthwise", f"{depthwise} kernel_size: 3 pad: 1", 512, 14, 14),
        Work("product 4096 x 4096", f'type: "InnerProduct" {fully}', (32 * batch, 4096)),
    ]


class Passes:
    """A layer's passes on the device, each as a graph. top: elements of the first.
    multiply_adds: of a forward pass."""

    def __init__(self, ops: CudaOps, fields: str, shapes: Sequence[Shape]) -> None:
        run = single_layer.make_layer(fields, [_numbers(shape) for shape in shapes], ops=ops)
        layer = run.layer
        self.forward = graph(ops, lambda: layer.forward(run.bottom, run.top))
        for blob in run.top:
            blob.diff.write()[...] = _numbers(blob.shape)
        for blob in layer.blobs:
            blob.diff.clear()
        wanted = [True] * len(run.bottom)
        self.backward = graph(ops, lambda: layer.backward(run.top, wanted, run.bottom))
        self.top = run.top[0].data.count
        self.multiply_adds = layer.multiply_adds or 0


class _Graph:
    """What launches work. steps: what the work is of, whose values must be where they are."""

    def __init__(self, launch: Launch, steps: Sequence[Launch]) -> None:
        self._launch = launch
        self._steps = steps

    def __call__(self) -> None:
        self._launch()


def graph(ops: CudaOps, call: Callable[[], None]) -> Launch:
    """What does the work of some calls of ops again, as one graph. They run once before."""
    steps = recorded(ops, call)

    def again() -> None:
        for one in steps:
            one()

    return _Graph(ops.capture(again), steps)


def milliseconds(
    device: CudaRuntime, launches: Mapping[str, Launch], rounds: int
) -> dict[str, float]:
    """The medians of what each takes, by the device's clock, in turns."""
    times: dict[str, list[float]] = {name: [] for name in launches}
    repeats = {}
    for name, launch in launches.items():
        launch()
        first = _elapsed(device, launch, 3)
        repeats[name] = max(1, min(MOST, round(TURN_MS / max(first, 1e-6))))
    for _ in range(rounds):
        for name, launch in launches.items():
            times[name].append(_elapsed(device, launch, repeats[name]))
    return {name: statistics.median(found) for name, found in times.items()}


def _elapsed(device: CudaRuntime, launch: Launch, times: int) -> float:
    """Milliseconds of a launch, of so many."""
    begun = device.record()
    for _ in range(times):
        launch()
    return device.record().milliseconds_since(begun) / times


def memory_lines(ops: CudaOps, shape: Shape, rounds: int) -> Iterator[str]:
    """A line for each pass that waits for memory."""
    count = math.prod(shape)
    source, target = (ops.runtime.allocate(count, ops.dtype) for _ in range(2))
    ops.runtime.clear(source)

    def copy() -> None:
        ops.runtime.copy(source, target)

    def line(title: str, launch: Launch, elements: float) -> str:
        ms = milliseconds(ops.runtime, {"copy": copy, "kernel": launch}, rounds)
        size = ops.dtype.itemsize
        best, found = 2 * count * size / ms["copy"], elements * size / ms["kernel"]
        mark = "" if found >= MARK * best else "  *"
        return (
            f"{title:<34}{ms['kernel']:9.3f} ms{found / 1e9:9.2f} TB/s of{best / 1e9:7.2f}"
            f"{100 * found / best:7.1f} %{mark}"
        )

    for kernel in kernels(shape):
        passes = Passes(ops, kernel.fields, kernel.shapes)
        bottom = math.prod(kernel.shapes[0])
        yield line(f"{kernel.title} forward", passes.forward, kernel.forward(bottom, passes.top))
        yield line(f"{kernel.title} backward", passes.backward, kernel.backward(bottom, passes.top))
    for name, slots in SLOTS.items():
        yield line(f"update {name}", update(ops, name, count), (3 + 2 * slots) * count)


def update(ops: CudaOps, name: str, count: int) -> Launch:
    """An update of so many parameters."""
    values = [Value((count,), ops.dtype) for _ in range(2 + SLOTS[name])]
    for place, value in enumerate(values):
        value.write()[...] = _numbers((count,)) if place < 2 else 0
    op = getattr(ops, f"{name}_update")()
    return graph(ops, lambda: op.update(*values, keep_diff=False, **NUMBERS[name]))


def product_lines(ops: CudaOps, batch: int, rounds: int) -> Iterator[str]:
    """A line for each layer that multiplies, in the precision of `ops`."""
    for work in works(batch):
        passes = Passes(ops, work.fields, [work.shape])
        both = {"forward": passes.forward, "backward": passes.backward}
        ms = milliseconds(ops.runtime, both, rounds)
        flops = 2 * passes.multiply_adds
        yield (
            f"{work.title:<34}{ops.precision:<6}"
            f"{ms['forward']:9.3f} ms{flops / ms['forward'] / 1e9:9.1f} Tflop/s   backward"
            f"{ms['backward']:9.3f} ms{2 * flops / ms['backward'] / 1e9:9.1f} Tflop/s"
        )


def _numbers(shape: Shape) -> np.ndarray:
    """Normally distributed, the same over and over: drawing so many takes long."""
    some = np.random.default_rng(1).standard_normal(1 << 16, np.float32)
    return np.resize(some, shape)


def main() -> None:
    """Prints a line for each pass."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", default="0", metavar="ID")
    parser.add_argument("--mb", type=float, default=128, help="of a blob")
    parser.add_argument("--batch", type=int, default=64, help="of convolutions")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), help="default: all")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    precisions = [one for one in given.precisions.split(",") if one]
    if unknown := set(precisions) - {*PRECISIONS}:
        parser.error(
            f"--precisions: expected some of {', '.join(PRECISIONS)}, got {', '.join(unknown)}."
        )
    ops = gpu_ops(given.gpu)
    samples = max(1, round(given.mb * 1e6 / 4 / math.prod(PLANE)))
    print(
        f"GPU {given.gpu}: {ops.runtime.properties().name}; blobs of {(samples, *PLANE)}, float32"
    )
    for line in memory_lines(ops, (samples, *PLANE), given.rounds):
        print(line, flush=True)
    for precision in precisions:
        for line in product_lines(
            CudaOps(ops.runtime, precision=precision), given.batch, given.rounds
        ):
            print(line, flush=True)


if __name__ == "__main__":
    main()
