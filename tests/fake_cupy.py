"""A cupy on the host, of what CupyRuntime uses: memory is numpy's, kernels are noted and not run.

Work of streams is done at once, or kept where the stream captures. `FakeGpu` tells what was asked
for.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

ATTRIBUTES = {
    "MaxThreadsPerBlock": 1024, "MaxBlockDimX": 1024, "MaxBlockDimY": 1024, "MaxBlockDimZ": 64,
    "MaxGridDimX": 2147483647, "MaxGridDimY": 65535, "MaxGridDimZ": 65535,
    "MaxSharedMemoryPerBlock": 49152, "TotalConstantMemory": 65536, "WarpSize": 32,
    "MaxPitch": 2147483647, "MaxRegistersPerBlock": 65536, "ClockRate": 1980000,
    "TextureAlignment": 512, "GpuOverlap": 1, "MultiProcessorCount": 2, "KernelExecTimeout": 0,
}  # fmt: skip


class CUDARuntimeError(RuntimeError):
    """status: cudaError_t."""

    def __init__(self, status: int) -> None:
        super().__init__(f"cudaError{status}")
        self.status = status


class CUDADriverError(RuntimeError):
    """An error of the driver's functions."""


class OutOfMemoryError(MemoryError):
    """The pool has too little memory."""


@dataclass
class Launch:
    """A kernel that was launched. types: of its arguments, "buffer" for arrays."""

    kernel: str
    blocks: int
    threads: int
    types: list[Any]
    stream: Stream


class Pointer:
    """Memory from an address on. owner: keeps it."""

    def __init__(self, owner: np.ndarray, start: int = 0) -> None:
        self.owner = owner
        self.ptr = owner.ctypes.data + start


class Array:
    """cupy.ndarray, flat."""

    def __init__(self, shape: tuple[int], dtype: Any, memory: Pointer) -> None:
        self.size, self.dtype, self.data = shape[0], np.dtype(dtype), memory

    @property
    def nbytes(self) -> int:
        size: int = self.size * self.dtype.itemsize
        return size

    def __getitem__(self, part: slice) -> Array:
        start, stop, _ = part.indices(self.size)
        offset = self.data.ptr - self.data.owner.ctypes.data + start * self.dtype.itemsize
        return Array((stop - start,), self.dtype, Pointer(self.data.owner, offset))

    def view(self, dtype: Any) -> Array:
        return Array((self.nbytes // np.dtype(dtype).itemsize,), dtype, self.data)


class Event:
    """A number for when it was recorded."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.timed = not disable_timing
        self.time: int | None = None
        self.captured = False

    def synchronize(self) -> None:
        assert not self.captured, "an event of a capture has no end"


class Graph:
    """Work that was captured."""

    def __init__(self, gpu: FakeGpu, work: list[Callable[[], Any]]) -> None:
        self.gpu, self.work = gpu, work

    def launch(self, stream: Stream) -> None:
        stream.queue(lambda: [each() for each in self.work])

    def upload(self, stream: Stream) -> None:
        self.gpu.asked.append("upload of a graph")


class Stream:
    """A stream; `waits`: what it waited for."""

    def __init__(self, gpu: FakeGpu, non_blocking: bool) -> None:
        assert non_blocking, "the default stream would wait for it"
        self.gpu, self.device = gpu, gpu.current
        self.ptr = next(gpu.numbers)
        self.captured: list[Callable[[], Any]] | None = None
        self.waits: list[Event] = []
        self.is_broken = False
        gpu.streams.append(self)

    def queue(self, work: Callable[[], Any]) -> None:
        assert self.gpu.current == self.device, "another device than the stream's is current"
        if self.captured is None:
            work()
        else:
            self.captured.append(work)

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.time, event.captured = next(self.gpu.clock), self.captured is not None
        return event

    def wait_event(self, event: Event) -> None:
        assert not event.captured or self.captured is not None, "this would capture the stream"
        self.waits.append(event)

    def synchronize(self) -> None:
        if self.captured is not None:
            self.is_broken = True
            raise CUDARuntimeError(900)  # cudaErrorStreamCaptureUnsupported
        self.gpu.asked.append("synchronize")

    def begin_capture(self, mode: int) -> None:
        assert mode == SimpleRuntime.streamCaptureModeRelaxed
        self.captured = []

    def end_capture(self) -> Graph:
        work, self.captured = self.captured, None
        assert work is not None
        if self.is_broken:
            self.is_broken = False
            raise CUDARuntimeError(901)  # cudaErrorStreamCaptureInvalidated
        return Graph(self.gpu, work)


class Pool:
    """Device memory up to the GPU's size."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu

    def malloc(self, size: int) -> Pointer:
        if size > self.gpu.free:
            raise OutOfMemoryError
        return Pointer(np.full(max(size, 1), 0xFF, np.uint8))

    def free_bytes(self) -> int:
        return 1000


class RawModule:
    """A file of compiled kernels."""

    def __init__(self, gpu: FakeGpu, path: str) -> None:
        self.gpu = gpu
        with open(path, "rb") as file:
            self.code = file.read()

    def get_function(self, kernel: str) -> SimpleNamespace:
        if kernel.encode() not in self.code:
            raise CUDADriverError("CUDA_ERROR_NOT_FOUND: named symbol not found")
        self.gpu.asked.append(f"function {kernel}")

        def launch(
            grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...], *, stream: Stream
        ) -> None:
            if grid[0] < 1:
                raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
            types = ["buffer" if isinstance(one, Array) else type(one) for one in arguments]
            noted = Launch(kernel, grid[0], block[0], types, stream)
            stream.queue(lambda: self.gpu.launches.append(noted))

        return SimpleNamespace(kernel=launch)


class SimpleRuntime:
    """cupy.cuda.runtime."""

    CUDARuntimeError = CUDARuntimeError
    memcpyHostToDevice, memcpyDeviceToHost, memcpyDeviceToDevice = 1, 2, 3
    streamCaptureModeRelaxed = 2

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        for number, name in enumerate(ATTRIBUTES):
            setattr(self, f"cudaDevAttr{name}", number)

    def getDeviceCount(self) -> int:
        if self.gpu.status:
            raise CUDARuntimeError(self.gpu.status)
        return self.gpu.devices

    def setDevice(self, index: int) -> None:
        self.gpu.current = index

    def runtimeGetVersion(self) -> int:
        return 12090

    def driverGetVersion(self) -> int:
        return self.gpu.driver

    def getDeviceProperties(self, index: int) -> dict[str, Any]:
        return {"name": b"Fake GPU", "major": 9, "minor": 0, "totalGlobalMem": 85_000_000_000}

    def deviceGetAttribute(self, number: int, index: int) -> int:
        return list(ATTRIBUTES.values())[number]

    def memGetInfo(self) -> tuple[int, int]:
        return self.gpu.free, 85_000_000_000

    def memsetAsync(self, address: int, value: int, size: int, stream: int) -> None:
        self.gpu.stream(stream).queue(lambda: ctypes.memset(address, value, size))

    def memcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        assert size, "cupy's pools give no address for nothing"
        self.gpu.asked.append(f"copy {kind} in stream {self.gpu.stream(stream).ptr}")
        self.gpu.stream(stream).queue(lambda: ctypes.memmove(target, source, size))


@dataclass
class FakeGpu:
    """The machine. status: the error of getDeviceCount.  driver: the version it tells of."""

    devices: int = 2
    status: int = 0
    driver: int = 12090
    free: int = 1 << 30
    current: int = 0
    launches: list[Launch] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    clock: Any = field(default_factory=itertools.count)

    def stream(self, address: int) -> Stream:
        return next(one for one in self.streams if one.ptr == address)

    def alloc_pinned_memory(self, size: int) -> np.ndarray:
        return np.zeros(size, np.uint8)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Makes it what `import cupy` gives."""
        cupy: Any = ModuleType("cupy")
        cupy.ndarray = Array
        cupy.RawModule = lambda path: RawModule(self, path)
        cupy.cuda = SimpleNamespace(
            runtime=SimpleRuntime(self),
            driver=SimpleNamespace(CUDADriverError=CUDADriverError),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            Stream=lambda non_blocking: Stream(self, non_blocking),
            Event=Event,
            MemoryPool=lambda: Pool(self),
            alloc_pinned_memory=self.alloc_pinned_memory,
            get_elapsed_time=lambda first, last: float(last.time - first.time),
        )
        monkeypatch.setitem(sys.modules, "cupy", cupy)
