"""What CudaOps needs of a GPU: the one port through which all of it goes.

`runtime.py` is the port on cupy; the tests have one that runs the same kernels on the CPU. All work
is queued in one stream, in order; calls return before it is done, but for `download`,
`synchronize` and `Event.milliseconds_since`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from caffepy.engine.core.backend import Runtime
from caffepy.engine.core.layout import Buffer


@dataclass(frozen=True)
class Product:
    """A batch of matrix products, matrices in C order: out[i] = op(a[i]) op(b[i]), added to what is
    in out[i] with `add`.

    m, n, k: out[i] is (m, n), op(a[i]) is (m, k), op(b[i]) is (k, n).
    transpose_a, transpose_b: whether a[i] lies as (k, m), b[i] as (n, k).
    batch: how many.  a_step, b_step, out_step: elements from one to the next; 0: the same matrix.
    a_start, b_start, out_start: elements before the first.
    a_row, b_row, out_row: elements from one row to the next as they lie; None: no gap.
    """

    m: int
    n: int
    k: int
    transpose_a: bool = False
    transpose_b: bool = False
    add: bool = False
    batch: int = 1
    a_step: int = 0
    b_step: int = 0
    out_step: int = 0
    a_start: int = 0
    b_start: int = 0
    out_start: int = 0
    a_row: int | None = None
    b_row: int | None = None
    out_row: int | None = None


@dataclass(frozen=True)
class Convolution:
    """What a library is asked for: one of y, x and w of a convolution from x with weights w to y,
    given the two others; x or y given or asked for may be gradients, and w asked for is one.

    result: "y", "x" or "w".
    x, w, y: shapes, (N, C, *spatial), (O, C / group, *kernel) and (N, O, *out), of 2 or 3 spatial
    axes.  stride, pad, dilation: a number per spatial axis.
    precision: "fp32" for products of float32 as they are, "tf32" where they may be rounded to 11
    bits; "fp16" and "bf16" for operands of these, with sums in float32.
    bias: whether b, (O,) of float32, is added to y.
    float_out: whether the result is of float32; else it is of the operands' type.
    repeatable: whether sums have one order where that is slower.

    The operands are, in this order: those of x, w and y that are given, b, and the result.
    """

    result: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    precision: str
    bias: bool = False
    float_out: bool = True
    repeatable: bool = False


@dataclass(frozen=True)
class DeviceProperties:
    """What `device_query` shows of a GPU. Sizes in bytes."""

    index: int
    name: str
    major: int
    minor: int
    total_memory: int
    shared_memory_per_block: int
    registers_per_block: int
    warp_size: int
    max_pitch: int
    max_threads_per_block: int
    max_threads: tuple[int, int, int]
    max_grid: tuple[int, int, int]
    clock_khz: int
    constant_memory: int
    texture_alignment: int
    concurrent_copy: bool
    multiprocessors: int
    kernel_timeout: bool


class Event(Protocol):
    """A point in the work of a stream."""

    def milliseconds_since(self, earlier: Event) -> float:
        """The time between two points; waits until the work before this one is done."""


class Graph(Protocol):
    """Work that was captured, to be done any number of times."""

    def launch(self) -> None:
        """Queues all of it."""


class ConvolutionPlan(Protocol):
    """A way to compute a convolution. workspace: the bytes of memory that it needs besides."""

    workspace: int

    def execute(self, addresses: Sequence[int], workspace: int) -> None:
        """Queues the work. addresses: of the operands.  workspace: that of so many bytes."""


class Dnn(Protocol):
    """A library of convolutions. version: its own."""

    version: str

    def plans(self, convolution: Convolution, most: int) -> Sequence[ConvolutionPlan]:
        """Ways to compute it, the best guess first, `most` at most; none where there is none.
        Equal ones each time."""


class CudaRuntime(Runtime, Protocol):
    """One GPU. Buffers are flat arrays in its memory that have `size`, `dtype` and `nbytes`, and of
    which slices and `view(dtype)` are buffers of the same memory. No other code looks into them.

    capturing: whether work is kept for a graph and not done.  dnn: cuDNN, or why there is none.
    """

    capturing: bool
    dnn: Dnn | str

    # ---- memory

    def allocate(self, count: int, dtype: np.dtype) -> Buffer:
        """A buffer, content undefined. Raises: OutOfMemoryError."""

    def clear(self, buffer: Buffer) -> None:
        """Makes all elements zero."""

    def copy(self, source: Buffer, target: Buffer) -> None:
        """From buffer to buffer, of one size and dtype."""

    def upload(self, source: np.ndarray, buffer: Buffer) -> None:
        """From the host, in C order; `source` may be changed once this returns. Not while
        capturing."""

    def download(self, buffer: Buffer, target: np.ndarray) -> None:
        """To the host, in C order, when all work queued before is done. Not while capturing."""

    def memory(self) -> tuple[int, int]:
        """The bytes that can be allocated, and all that the GPU has."""

    # ---- work

    # `build`, `launch` and `launch_rows` are those of Runtime.

    def multiply(
        self, product: Product, a: Buffer, b: Buffer, out: Buffer, precision: str = "fp32"
    ) -> None:
        """A matrix product. a, b: of out's dtype, or float16 or uint16 (bfloat16 bits) with out
        float32.  precision: "fp32", or "tf32" for float32 inputs rounded to 11 bits."""

    def convolve(
        self, plan: ConvolutionPlan, operands: Sequence[Buffer], workspace: Buffer
    ) -> None:
        """What a plan of `dnn` computes. operands: in the order of Convolution."""

    def capture(self, run: Callable[[], None]) -> Graph:
        """Calls `run`, whose work is not done, but kept. What it allocates must outlive the graph.
        Raises: DeviceError where some of it cannot be captured."""

    # ---- time

    def record(self) -> Event:
        """This point in the stream."""

    def synchronize(self) -> None:
        """Waits until all work is done."""

    # ---- a second stream, for batches that come while others are computed with

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Host memory that copies to the device need not wait for."""

    def upload_ahead(self, source: np.ndarray, buffer: Buffer) -> Event:
        """Copies pinned memory in the second stream, after the work queued so far in the first.
        The event is its end; until then `source` must not change."""

    def wait_for(self, event: Event) -> None:
        """Work queued from now on waits for the event; the host does not."""

    # ---- the device

    def properties(self) -> DeviceProperties:
        """What the device is."""

    def versions(self) -> dict[str, str]:
        """What runs the work, by name: driver and libraries."""
