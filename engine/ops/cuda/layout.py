"""DeviceLayout: how values lie in the memory of a GPU."""

from __future__ import annotations

import math

import numpy as np

from caffepy.engine.core.layout import Buffer, Layout
from caffepy.engine.ops.cuda.port import CudaRuntime


class DeviceLayout:
    """C order in a GPU's memory. Buffers are flat: aliases of other shapes share them."""

    def __init__(self, runtime: CudaRuntime) -> None:
        self.space = runtime

    def key(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(shape),)

    def allocate(
        self, shape: tuple[int, ...], dtype: np.dtype, memory: Buffer | None = None
    ) -> Buffer:
        if memory is None:
            return self.space.allocate(math.prod(shape), dtype)
        return memory[: self.bytes(shape, dtype)].view(dtype)

    def bytes(self, shape: tuple[int, ...], dtype: np.dtype) -> int:
        return math.prod(shape) * dtype.itemsize

    def zeros(self, count: int, dtype: np.dtype) -> Buffer:
        memory = self.space.allocate(count, dtype)
        self.space.clear(memory)
        return memory

    def clear(self, buffer: Buffer) -> None:
        self.space.clear(buffer)

    def copy(self, source: Buffer, target: Buffer) -> None:
        self.space.copy(source, target)

    def load(self, plain: np.ndarray, buffer: Buffer) -> None:
        self.space.upload(plain, buffer)

    def store(self, buffer: Buffer, plain: np.ndarray) -> None:
        self.space.download(buffer, plain)

    def convert(self, source: Layout, content: Buffer, buffer: Buffer) -> bool:
        return False

    def elements(self, buffer: Buffer) -> Buffer:
        return buffer

    def __repr__(self) -> str:
        return "DEVICE"
