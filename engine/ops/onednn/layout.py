"""The layouts that oneDNN's primitives choose for their tensors."""

from __future__ import annotations

import math
import threading
import weakref

import numpy as np

from caffepy.engine.core.layout import PLAIN, HostLayout, Layout
from caffepy.engine.ops.onednn.binding import Arg, Descriptor, aligned, reorder
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad


class BlockedLayout(HostLayout):
    """Float32 memory as a memory descriptor says; buffers are flat arrays, padding included.

    Made by `layout_of` only, which knows one object per descriptor, so that layouts are equal
    exactly when they are the same object. Padding is zero in a new buffer, and primitives write
    zeros there.

    descriptor: of the tensor that the primitive sees; its axes may be split or swapped against the
    value's (groups, transposed weights).  plain: of the value's plain memory, with the same axes.
    """

    def __init__(self, descriptor: Descriptor, plain: Descriptor) -> None:
        self.descriptor = descriptor
        self.plain = plain
        self._load: _Copy | None = None
        self._store: _Copy | None = None
        self._convert: dict[BlockedLayout, _Copy] = {}

    @property
    def dims(self) -> tuple[int, ...]:
        """The sizes of the tensor that the primitive sees."""
        return self.descriptor.dims

    def allocate(
        self, shape: tuple[int, ...], dtype: np.dtype, memory: np.ndarray | None = None
    ) -> np.ndarray:
        assert math.prod(shape) == math.prod(self.dims), f"{shape} in a layout of {self.dims}"
        assert dtype == np.float32
        if memory is None:
            return aligned(self.descriptor.bytes)
        return memory[: self.descriptor.bytes].view(np.float32)

    def bytes(self, shape: tuple[int, ...], dtype: np.dtype) -> int:
        return self.descriptor.bytes

    def load(self, plain: np.ndarray, buffer: np.ndarray) -> None:
        if self._load is None:
            self._load = _Copy(self.plain, self.descriptor)
        self._load(np.ascontiguousarray(plain), buffer)

    def store(self, buffer: np.ndarray, plain: np.ndarray) -> None:
        if self._store is None:
            self._store = _Copy(self.descriptor, self.plain)
        self._store(buffer, plain)

    def convert(self, source: Layout, content: np.ndarray, buffer: np.ndarray) -> bool:
        if not isinstance(source, BlockedLayout) or not source.plain.equals(self.plain):
            return False
        if source not in self._convert:
            self._convert[source] = _Copy(source.descriptor, self.descriptor)
        self._convert[source](content, buffer)
        return True

    def elements(self, buffer: np.ndarray) -> np.ndarray:
        return buffer

    def __repr__(self) -> str:
        return f"BlockedLayout({self.dims}, {self.descriptor.bytes} bytes)"


class _Copy:
    """A reorder that any thread may use and that holds on to no array."""

    def __init__(self, source: Descriptor, target: Descriptor) -> None:
        self._execution = Execution(reorder(source, target), Scratchpad(), Arg.SOURCE, Arg.TARGET)
        self._lock = threading.Lock()

    def __call__(self, source: np.ndarray, target: np.ndarray) -> None:
        with self._lock:
            self._execution(source, target)
            self._execution.release()


_known: weakref.WeakSet[BlockedLayout] = weakref.WeakSet()  # a net may see shapes without end
_knowing = threading.Lock()


def layout_of(descriptor: Descriptor, plain: Descriptor | None = None) -> Layout:
    """The layout of values that lie as `descriptor` says; PLAIN where that is plain memory.

    plain: how the value's plain memory looks along the descriptor's axes; C order without it.
    """
    plain = plain or Descriptor.plain(descriptor.dims)
    if descriptor.equals(plain):
        return PLAIN
    with _knowing:
        for layout in _known:
            if (
                layout.dims == descriptor.dims
                and layout.descriptor.equals(descriptor)
                and layout.plain.equals(plain)
            ):
                return layout
        layout = BlockedLayout(descriptor, plain)
        _known.add(layout)
        return layout
