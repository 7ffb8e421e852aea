"""How the elements of a value lie in memory."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from caffepy.engine.core.aligned import aligned_zeros

Buffer = Any  # whatever a layout's `allocate` makes; PLAIN: np.ndarray in the value's shape


class Layout(Protocol):
    """One way to lay a value out, on the host or on a device.

    Layouts are hashable and compare equal exactly when their buffers are interchangeable. A layout
    that depends on the shape (oneDNN's blocked ones) carries the shape in itself.

    space: where its memory is; None for the host.
    """

    space: Any

    def key(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Equal for two shapes of a value where the same buffer serves both."""

    def allocate(
        self, shape: tuple[int, ...], dtype: np.dtype, memory: np.ndarray | None = None
    ) -> Buffer:
        """A buffer for `shape`; what lies in padding must not disturb elementwise work.

        memory: flat, of bytes, `bytes` of them or more, aligned, to lie in; what is in it before
        the first write is of no meaning, in the padding too.
        """

    def zeros(self, count: int, dtype: np.dtype) -> Any:
        """Flat memory of zeros, aligned, for buffers to lie in."""

    def clear(self, buffer: Buffer) -> None:
        """Makes all elements of a buffer zero."""

    def copy(self, source: Any, target: Any) -> None:
        """From flat memory to flat memory of one size and dtype."""

    def bytes(self, shape: tuple[int, ...], dtype: np.dtype) -> int:
        """The size of a buffer, a multiple of an element's."""

    def load(self, plain: np.ndarray, buffer: Buffer) -> None:
        """Copies `plain` (the value's shape, C order) into `buffer`."""

    def store(self, buffer: Buffer, plain: np.ndarray) -> None:
        """Copies `buffer` into `plain` (the value's shape, C order)."""

    def convert(self, source: Layout, content: Buffer, buffer: Buffer) -> bool:
        """Copies `content`, laid out as `source`, into `buffer` without a plain copy between.

        Returns False, having done nothing, where there is no such way.
        """

    def elements(self, buffer: Buffer) -> np.ndarray:
        """All elements of `buffer`, padding included, as one flat array for elementwise work."""


class HostLayout:
    """Base of layouts in host memory whose buffers depend on the shape, and are numpy arrays."""

    space = None

    def key(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def zeros(self, count: int, dtype: np.dtype) -> np.ndarray:
        return aligned_zeros(count, dtype)

    def clear(self, buffer: np.ndarray) -> None:
        self.elements(buffer).fill(0)

    def copy(self, source: np.ndarray, target: np.ndarray) -> None:
        np.copyto(target, source)

    def elements(self, buffer: np.ndarray) -> np.ndarray:
        return buffer.reshape(-1)


class PlainLayout(HostLayout):
    """C-contiguous host memory, the layout that every value can take."""

    def allocate(
        self, shape: tuple[int, ...], dtype: np.dtype, memory: np.ndarray | None = None
    ) -> np.ndarray:
        if memory is None:
            return np.empty(shape, dtype)
        return memory[: self.bytes(shape, dtype)].view(dtype).reshape(shape)

    def bytes(self, shape: tuple[int, ...], dtype: np.dtype) -> int:
        return math.prod(shape) * dtype.itemsize

    def load(self, plain: np.ndarray, buffer: np.ndarray) -> None:
        np.copyto(buffer, plain)

    def store(self, buffer: np.ndarray, plain: np.ndarray) -> None:
        np.copyto(plain, buffer)

    def convert(self, source: Layout, content: Buffer, buffer: np.ndarray) -> bool:
        source.store(content, buffer)
        return True

    def __repr__(self) -> str:
        return "PLAIN"


PLAIN = PlainLayout()
