"""CupyRuntime: a GPU through cupy. The only module that imports cupy.

Kernels are compiled by `nvrtc.py` and kept by `code_cache.py`, products go through `cublas.py`,
convolutions through `frontend.py`; cupy allocates, copies, launches and captures.

Memory comes from a pool of the runtime's own. What is given back is handed out again at once,
before the work on it is done: that is right since all work but `upload_ahead`'s is in one stream,
so that the next owner's comes after it. A graph holds on to all that was allocated while it was
captured, as its work is done again and again.

Several threads may call a runtime. The data threads' part is `pinned` and `upload_ahead`, which
may run while another thread captures; and `upload`, while the net waits for its first batch.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from caffepy.engine.core.errors import DeviceError, OutOfMemoryError
from caffepy.engine.core.layout import Buffer, Layout
from caffepy.engine.ops.cuda import code_cache, cublas, devices, frontend, staging, versions
from caffepy.engine.ops.cuda.layout import DeviceLayout
from caffepy.engine.ops.cuda.nvrtc import BLOCK
from caffepy.engine.ops.cuda.port import (
    ConvolutionPlan,
    DeviceProperties,
    Dnn,
    Event,
    Graph,
    Product,
)

if TYPE_CHECKING:
    from types import ModuleType

# Blocks of a grid for each multiprocessor, at most: 8 fill it, more even out its ends.
BLOCKS_PER_MULTIPROCESSOR = 32

F = TypeVar("F", bound=Callable[..., Any])


def available() -> str | None:
    """Why there is no usable GPU, and what to do; None where there is."""
    try:
        return devices.lack(_cupy().cuda.runtime)
    except _CannotImport as error:
        return str(error)


def count() -> int:
    """How many GPUs there are. Raises: DeviceError where none can be used."""
    if (reason := available()) is not None:
        raise DeviceError(f"GPU: expected one that can be used, got none: {reason}")
    found: int = _cupy().cuda.runtime.getDeviceCount()
    return found


def properties(index: int) -> DeviceProperties:
    """What a GPU is; nothing is allocated on it."""
    return devices.properties(_cupy().cuda.runtime, index)


class _CannotImport(Exception):
    """Why cupy cannot be imported."""


def _cupy() -> ModuleType:
    """The module. Raises: _CannotImport."""
    try:
        import cupy
    except ImportError as error:  # of cupy, or of what it needs
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        raise _CannotImport(devices.NOT_INSTALLED if missing else devices.broken(error)) from error
    return cast("ModuleType", cupy)


def _on_the_device(method: F) -> F:
    """A method that makes the GPU the calling thread's, and words CUDA's errors."""

    @functools.wraps(method)
    def called(self: CupyRuntime, *arguments: Any, **named: Any) -> Any:
        self._cuda.setDevice(self.index)
        try:
            return method(self, *arguments, **named)
        except self._errors as error:
            raise DeviceError(
                f"GPU {self.index}: {method.__name__}: expected success, got {error}. Run again "
                "with CUDA_LAUNCH_BLOCKING=1 in the environment to see what it began with."
            ) from error

    return cast("F", called)


class CupyRuntime:
    """The GPU of an index: a `CudaRuntime`."""

    def __init__(self, index: int = 0) -> None:
        """Raises: DeviceError where there is no such GPU."""
        found = count()
        if not 0 <= index < found:
            raise DeviceError(f"--gpu {index}: expected 0 to {found - 1}, got {index}. Choose one.")
        cupy = _cupy()
        self.index = index
        self.capturing = False
        self.layout: Layout = DeviceLayout(self)
        self._cupy = cupy
        self._cuda = cupy.cuda.runtime
        self._errors = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        self._about = properties(index)
        self._most_blocks = BLOCKS_PER_MULTIPROCESSOR * self._about.multiprocessors
        self._turn = threading.Lock()  # of what must not begin while a capture begins or ends
        self._before_capture: Any = None
        self._held: list[Buffer] = []
        self._start()

    @_on_the_device
    def _start(self) -> None:
        """Streams, pool and cuBLAS."""
        cuda = self._cupy.cuda
        self._stream = cuda.Stream(non_blocking=True)
        self._copies = cuda.Stream(non_blocking=True)
        self._pool = cuda.MemoryPool()
        self._staging = staging.Staging(self._pinned_bytes, self._mark)
        self._workspace = self.allocate(cublas.WORKSPACE_BYTES, np.dtype(np.uint8))
        with contextlib.suppress(ImportError):  # loads cuBLAS from where cupy alone may find it
            importlib.import_module("cupy_backends.cuda.libs.cublas")
        library = cublas.load(self._cuda.runtimeGetVersion() // 1000)
        self._cublas = cublas.Cublas(library, self._stream.ptr, self._workspace.data.ptr)
        self.dnn: Dnn | str = frontend.begin(self._stream.ptr)  # finds cuBLAS, which it needs

    # ---- memory

    @_on_the_device
    def allocate(self, count: int, dtype: np.dtype) -> Buffer:
        size = count * dtype.itemsize
        try:
            memory = self._pool.malloc(size)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise OutOfMemoryError(f"GPU {self.index}", size, self.memory()[0]) from error
        buffer = self._cupy.ndarray((count,), dtype, memory)
        if self.capturing:
            self._held.append(buffer)
        return buffer

    @_on_the_device
    def clear(self, buffer: Buffer) -> None:
        self._cuda.memsetAsync(buffer.data.ptr, 0, buffer.nbytes, self._stream.ptr)

    @_on_the_device
    def copy(self, source: Buffer, target: Buffer) -> None:
        assert source.dtype == target.dtype, (source.dtype, target.dtype)
        assert source.size == target.size, (source.size, target.size)
        kind = self._cuda.memcpyDeviceToDevice
        self._copy(target.data.ptr, source.data.ptr, source.nbytes, kind, self._stream)

    @_on_the_device
    def upload(self, source: np.ndarray, buffer: Buffer) -> None:
        source = _as_bytes_lie(source, buffer)
        is_small = source.nbytes <= staging.MOST_BYTES
        with self._turn:
            self._refuse_while_capturing("upload")
            if not source.size:
                return
            address = self._staging.address(source) if is_small else source.ctypes.data
            kind = self._cuda.memcpyHostToDevice
            self._copy(buffer.data.ptr, address, source.nbytes, kind, self._stream)
        if not is_small:
            self._stream.synchronize()

    @_on_the_device
    def download(self, buffer: Buffer, target: np.ndarray) -> None:
        self._refuse_while_capturing("download")
        assert buffer.size >= target.size, (buffer.size, target.size)
        into = target if target.flags.c_contiguous else np.empty(target.shape, target.dtype)
        assert buffer.dtype == into.dtype, (buffer.dtype, into.dtype)
        if into.size:
            kind = self._cuda.memcpyDeviceToHost
            self._copy(into.ctypes.data, buffer.data.ptr, into.nbytes, kind, self._stream)
        self._stream.synchronize()
        if into is not target:
            target[...] = into

    @_on_the_device
    def memory(self) -> tuple[int, int]:
        free, total = self._cuda.memGetInfo()
        return free + self._pool.free_bytes(), total

    def _copy(self, target: int, source: int, size: int, kind: int, stream: Any) -> None:
        if size:
            self._cuda.memcpyAsync(target, source, size, kind, stream.ptr)

    # ---- work

    @_on_the_device
    def build(self, source: str, name: str, element: str) -> _Functions:
        capability = 10 * self._about.major + self._about.minor
        path = code_cache.machine_code_file(source, name, element, capability)
        return _Functions(self._cupy.RawModule(path=str(path)))

    @_on_the_device
    def launch(
        self, program: _Functions, kernel: str, count: int, arguments: Sequence[Buffer | np.generic]
    ) -> None:
        blocks = min(-(-count // BLOCK), self._most_blocks)
        program[kernel]((blocks,), (BLOCK,), tuple(arguments), stream=self._stream)

    @_on_the_device
    def launch_rows(
        self, program: _Functions, kernel: str, count: int, arguments: Sequence[Buffer | np.generic]
    ) -> None:
        blocks = min(count, self._most_blocks)
        program[kernel]((blocks,), (BLOCK,), tuple(arguments), stream=self._stream)

    @_on_the_device
    def multiply(
        self, product: Product, a: Buffer, b: Buffer, out: Buffer, precision: str = "fp32"
    ) -> None:
        if not product.k:
            self._add_nothing(product, out)
        elif product.m and product.n and product.batch:
            left, right, result = ((each.data.ptr, each.dtype) for each in (a, b, out))
            self._cublas.multiply(product, left, right, result, precision == "tf32")

    def _add_nothing(self, product: Product, out: Buffer) -> None:
        """A product whose sums have no terms, which not all versions of cuBLAS take."""
        if product.add:
            return
        row = product.out_row or product.n
        for index in range(product.batch):
            for place in range(product.m):
                start = product.out_start + index * product.out_step + place * row
                self.clear(out[start : start + product.n])

    @_on_the_device
    def convolve(
        self, plan: ConvolutionPlan, operands: Sequence[Buffer], workspace: Buffer
    ) -> None:
        plan.execute([one.data.ptr for one in operands], workspace.data.ptr)

    @_on_the_device
    def capture(self, run: Callable[[], None]) -> Graph:
        # Relaxed: other threads go on with their pinned memory and copies, and memory may be
        # allocated in this one.
        with self._turn:
            assert not self.capturing, "a capture within a capture"
            self._before_capture = self._mark()
            self._stream.begin_capture(self._cuda.streamCaptureModeRelaxed)
            self.capturing, self._held = True, []
        try:
            run()
        except BaseException:
            with contextlib.suppress(*self._errors):  # it says that the capture failed
                self._end_capture()
            raise
        graph, held = self._end_capture()
        graph.upload(self._stream)
        return _Graph(self, graph, held)

    def _end_capture(self) -> tuple[Any, list[Buffer]]:
        """The graph, and what it holds on to."""
        with self._turn:
            held, self._held, self.capturing = self._held, [], False
            return self._stream.end_capture(), held

    @_on_the_device
    def launch_graph(self, graph: Any) -> None:
        """Queues the work of cupy's graph."""
        graph.launch(self._stream)

    def _refuse_while_capturing(self, what: str) -> None:
        if self.capturing:
            raise DeviceError(
                f"GPU {self.index}: {what}: expected work that can be captured, got one with the "
                "host. Run these steps launch by launch."
            )

    # ---- time

    @_on_the_device
    def record(self) -> Event:
        return _Event(self, self._stream.record())

    @_on_the_device
    def synchronize(self) -> None:
        self._stream.synchronize()

    @_on_the_device
    def milliseconds(self, earlier: Any, later: Any) -> float:
        """Between two of cupy's events, when the later one has come."""
        later.synchronize()
        passed: float = self._cupy.cuda.get_elapsed_time(earlier, later)
        return passed

    def _mark(self) -> Any:
        """This point in the stream, as an event that keeps no time."""
        return self._stream.record(self._cupy.cuda.Event(disable_timing=True))

    # ---- the second stream

    @_on_the_device
    def pinned(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        memory = self._cupy.cuda.alloc_pinned_memory(max(size, 1))
        array: np.ndarray = np.ndarray(shape, dtype, memory)
        return array

    def _pinned_bytes(self, count: int) -> np.ndarray:
        return self.pinned((count,), np.dtype(np.uint8))

    @_on_the_device
    def upload_ahead(self, source: np.ndarray, buffer: Buffer) -> Event:
        lies = _as_bytes_lie(source, buffer)
        assert lies is source, "pinned memory, as `pinned` gives it"
        with self._turn:
            # What is being captured is not queued; and an event of it would draw the copy in.
            self._copies.wait_event(self._before_capture if self.capturing else self._mark())
            kind = self._cuda.memcpyHostToDevice
            self._copy(buffer.data.ptr, source.ctypes.data, source.nbytes, kind, self._copies)
            return _Event(self, self._copies.record(), (source, buffer))

    @_on_the_device
    def wait_for(self, event: Event) -> None:
        assert isinstance(event, _Event)
        self._stream.wait_event(event.event)

    # ---- the device

    def properties(self) -> DeviceProperties:
        return self._about

    def versions(self) -> dict[str, str]:
        return devices.cuda_versions(self._cuda) | versions.installed()


class _Functions(dict[str, Any]):
    """The kernels of cupy's module by name, each looked up once."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._module = module

    def __missing__(self, kernel: str) -> Any:
        found = self[kernel] = self._module.get_function(kernel).kernel
        return found


class _Event:
    """event: cupy's.  kept: what must stay while the work before it goes on."""

    def __init__(self, runtime: CupyRuntime, event: Any, kept: tuple[Any, ...] = ()) -> None:
        self._runtime = runtime
        self.event = event
        self.kept = kept

    def milliseconds_since(self, earlier: Event) -> float:
        assert isinstance(earlier, _Event)
        return self._runtime.milliseconds(earlier.event, self.event)


class _Graph:
    """graph: cupy's.  held: the buffers that only it may use."""

    def __init__(self, runtime: CupyRuntime, graph: Any, held: list[Buffer]) -> None:
        self._runtime = runtime
        self._graph = graph
        self._held = held

    def launch(self) -> None:
        self._runtime.launch_graph(self._graph)


def _as_bytes_lie(source: np.ndarray, buffer: Buffer) -> np.ndarray:
    """An array of the host in C order, the source itself where it is."""
    assert source.size <= buffer.size, (source.size, buffer.size)
    assert source.dtype == buffer.dtype, (source.dtype, buffer.dtype)
    return source if source.flags.c_contiguous else np.ascontiguousarray(source)
