"""HostRuntime: a GPU on the CPU, for tests.

It runs the CUDA sources that g++ compiled, and is as strict as a GPU or stricter: its memory is
poisoned and guarded, grids are small, the threads of a block take turns in an order that finds
races, graphs hold addresses, and copies ahead come as late as they may.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DeviceError, OutOfMemoryError
from caffepy.engine.core.layout import Layout
from caffepy.engine.ops.cuda.layout import DeviceLayout
from caffepy.engine.ops.cuda.port import ConvolutionPlan, DeviceProperties, Dnn, Event, Product
from tests import host_product
from tests.host_compiler import BLOCK, Program, compiled
from tests.host_memory import Address, DeviceArray, Memory

# A grid smaller than most counts, so that a kernel without a grid-stride loop is found out.
BLOCKS, THREADS = 3, 4
MEMORY = 8 << 30

_Work = Callable[..., None]


class HostEvent:
    """A point in the work of a stream, where each piece of work takes 1 ms.

    step: the pieces of work before it.  finish: does what it waits for.
    """

    def __init__(self, step: int, finish: Callable[[Event], None]) -> None:
        self._step = step
        self._finish = finish

    def milliseconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, HostEvent)
        self._finish(self)
        return float(self._step - earlier._step)


class HostGraph:
    """Captured work. It holds the addresses of buffers, not the buffers.

    memory: what was allocated meanwhile, which it does keep.
    """

    def __init__(self, runtime: HostRuntime) -> None:
        self._runtime = runtime
        self.memory: list[Memory] = []
        self._work: list[tuple[_Work, tuple[Any, ...]]] = []

    def keep(self, work: _Work, arguments: Sequence[Any]) -> None:
        """Adds a piece of work."""
        held = (Address.of(one) if isinstance(one, DeviceArray) else one for one in arguments)
        self._work.append((work, tuple(held)))

    def launch(self) -> None:
        self._runtime.refuse_in_graph("launching a graph")
        for work, held in self._work:
            arguments = [one.array() if isinstance(one, Address) else one for one in held]
            self._runtime.do(work, *arguments)

    @property
    def pieces(self) -> int:
        """How many pieces of work there are."""
        return len(self._work)


class HostRuntime:
    """A CudaRuntime on the CPU.

    folder: keeps the compiled objects, by the hash of their content.  limit: the bytes that the
    device has.  options: more of the compiler's.  dnn: see CudaRuntime.  steps: the pieces of work
    done so far.
    """

    def __init__(
        self,
        folder: Path,
        limit: int = MEMORY,
        options: Sequence[str] = (),
        dnn: Dnn | str = "There is none on the host.",
    ) -> None:
        self.folder = folder
        self.limit = limit
        self.options = tuple(options)
        self.dnn: Dnn | str = dnn
        self.layout: Layout = DeviceLayout(self)
        self.steps = 0
        self._used = [0]  # shared with what frees memory
        self.capturing = False
        self._graph = HostGraph(self)  # of what is captured, or was last
        self._programs: dict[tuple[str, str, str], Program] = {}
        self._ahead: list[tuple[HostEvent, np.ndarray, DeviceArray]] = []
        self._pinned: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()

    def do(self, work: _Work, *arguments: Any) -> None:
        """Calls `work`, or keeps the call for the graph."""
        if self.capturing:
            self._graph.keep(work, arguments)
        else:
            self.steps += 1
            work(*arguments)

    def refuse_in_graph(self, what: str) -> None:
        """Raises: DeviceError while capturing."""
        if self.capturing:
            raise DeviceError(
                f"graph: {what}: expected work that can be captured, got what the host waits for. "
                "Do it before."
            )

    # ---- memory

    def allocate(self, count: int, dtype: Any) -> DeviceArray:
        dtype = np.dtype(dtype)
        size = count * dtype.itemsize
        free, _ = self.memory()
        if size > free:
            raise OutOfMemoryError("host device", size, free)
        memory = Memory(size)
        self._used[0] += size
        weakref.finalize(memory, _give_back, self._used, size).atexit = False
        if self.capturing:
            self._graph.memory.append(memory)
        return DeviceArray(memory, memory.bytes.view(dtype))

    def clear(self, buffer: DeviceArray) -> None:
        self.do(_clear, buffer)

    def copy(self, source: DeviceArray, target: DeviceArray) -> None:
        _check_alike(source, target)
        self.do(_copy, source, target)

    def upload(self, source: np.ndarray, buffer: DeviceArray) -> None:
        self.refuse_in_graph("copying from the host")
        _check_alike(source, buffer)
        self.do(_upload, source, buffer)

    def download(self, buffer: DeviceArray, target: np.ndarray) -> None:
        self.refuse_in_graph("copying to the host")
        _check_alike(buffer, target)
        target[...] = buffer.content.reshape(target.shape)

    def memory(self) -> tuple[int, int]:
        return self.limit - self._used[0], self.limit

    # ---- work

    def build(self, source: str, name: str, element: str) -> Program:
        key = source, name, element
        if key not in self._programs:
            self.refuse_in_graph(f"loading the kernels of {name}")
            self._programs[key] = compiled(self.folder, *key, options=self.options)
        return self._programs[key]

    def launch(
        self, program: Program, kernel: str, count: int, arguments: Sequence[DeviceArray | Any]
    ) -> None:
        threads = BLOCK if kernel in program.together else THREADS
        self._launch(program, kernel, -(-count // threads), threads, arguments)

    def launch_rows(
        self, program: Program, kernel: str, count: int, arguments: Sequence[DeviceArray | Any]
    ) -> None:
        self._launch(program, kernel, count, BLOCK, arguments)

    def _launch(
        self, program: Program, kernel: str, blocks: int, threads: int, arguments: Sequence[Any]
    ) -> None:
        assert blocks > 0, f"{kernel}: expected a grid with threads, got none"
        self.do(partial(program.run, kernel, min(blocks, BLOCKS), threads), *arguments)

    def multiply(
        self,
        product: Product,
        a: DeviceArray,
        b: DeviceArray,
        out: DeviceArray,
        precision: str = "fp32",
    ) -> None:
        host_product.check(product, a.content, b.content, out.content, precision)
        self.do(partial(_multiply, product, precision), a, b, out)

    def convolve(
        self, plan: ConvolutionPlan, operands: Sequence[DeviceArray], workspace: DeviceArray
    ) -> None:
        assert workspace.nbytes >= plan.workspace, (workspace.nbytes, plan.workspace)
        self.do(partial(_convolve, plan), workspace, *operands)

    def capture(self, run: Callable[[], None]) -> HostGraph:
        self.refuse_in_graph("capturing")
        graph = self._graph = HostGraph(self)
        self.capturing = True
        try:
            run()
        finally:
            self.capturing = False
        return graph

    # ---- time

    def record(self) -> HostEvent:
        self.refuse_in_graph("recording an event")
        return HostEvent(self.steps, self._finish)

    def synchronize(self) -> None:
        self.refuse_in_graph("waiting")
        while self._ahead:
            self._finish(self._ahead[-1][0])

    # ---- a second stream

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        memory = np.empty(shape, dtype)
        self._pinned[id(memory)] = memory
        return memory

    def upload_ahead(self, source: np.ndarray, buffer: DeviceArray) -> HostEvent:
        _check_alike(source, buffer)
        assert self._is_pinned(source), "expected pinned memory, got other"
        buffer.poison()  # it holds nothing that may be read until the copy is waited for
        event = HostEvent(self.steps, self._finish)
        self._ahead.append((event, source, buffer))
        return event

    def wait_for(self, event: Event) -> None:
        self.refuse_in_graph("waiting for a copy")
        self._finish(event)

    def _finish(self, event: Event) -> None:
        """Makes the copies up to an event, where it is the end of one."""
        if any(event is each for each, _, _ in self._ahead):
            while True:
                done, source, buffer = self._ahead.pop(0)
                _upload(source, buffer)
                if done is event:
                    break

    def _is_pinned(self, array: Any) -> bool:
        while array is not None:
            if self._pinned.get(id(array)) is array:
                return True
            array = getattr(array, "base", None)
        return False

    # ---- the device

    def properties(self) -> DeviceProperties:
        return DeviceProperties(
            index=0,
            name="Host",
            major=0,
            minor=0,
            total_memory=self.limit,
            shared_memory_per_block=48 << 10,
            registers_per_block=64 << 10,
            warp_size=32,
            max_pitch=(1 << 31) - 1,
            max_threads_per_block=BLOCK,
            max_threads=(BLOCK, 1, 1),
            max_grid=(BLOCKS, 1, 1),
            clock_khz=1000,
            constant_memory=64 << 10,
            texture_alignment=512,
            concurrent_copy=True,
            multiprocessors=BLOCKS,
            kernel_timeout=False,
        )

    def versions(self) -> dict[str, str]:
        return {"driver": "none: g++ compiled the kernels"}


def _give_back(used: list[int], size: int) -> None:
    used[0] -= size


def _check_alike(source: Any, target: Any) -> None:
    assert (source.size, source.dtype) == (target.size, target.dtype), (
        f"expected {target.size} elements of {target.dtype}, got {source.size} of {source.dtype}"
    )


def _clear(buffer: DeviceArray) -> None:
    buffer.content.fill(0)


def _copy(source: DeviceArray, target: DeviceArray) -> None:
    target.content[...] = source.content


def _upload(source: np.ndarray, buffer: DeviceArray) -> None:
    buffer.content[...] = source.reshape(-1)


def _convolve(plan: ConvolutionPlan, workspace: DeviceArray, *operands: DeviceArray) -> None:
    plan.execute([one.address for one in operands], workspace.address)
    for array in (workspace, *operands):
        assert (where := array.memory.overrun()) is None, f"cuDNN wrote {where}"


def _multiply(
    product: Product, precision: str, a: DeviceArray, b: DeviceArray, out: DeviceArray
) -> None:
    host_product.multiply(product, a.content, b.content, out.content, precision)
