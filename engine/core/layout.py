"""How the elements of a value lie in memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

Buffer = Any  # whatever a layout's `allocate` makes; PLAIN: np.ndarray in the value's shape


class Layout(Protocol):
    """One way to lay a value out, on the host or on a device.

    Layouts are hashable and compare equal exactly when their buffers are interchangeable. A layout
    that depends on the shape (oneDNN's blocked ones) carries the shape in itself.
    """

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        """A buffer for `shape`; what lies in padding must not disturb elementwise work."""

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


class PlainLayout:
    """C-contiguous host memory, the layout that every value can take."""

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.empty(shape, dtype)

    def load(self, plain: np.ndarray, buffer: np.ndarray) -> None:
        np.copyto(buffer, plain)

    def store(self, buffer: np.ndarray, plain: np.ndarray) -> None:
        np.copyto(plain, buffer)

    def convert(self, source: Layout, content: Buffer, buffer: np.ndarray) -> bool:
        source.store(content, buffer)
        return True

    def elements(self, buffer: np.ndarray) -> np.ndarray:
        return buffer.reshape(-1)

    def __repr__(self) -> str:
        return "PLAIN"


PLAIN = PlainLayout()
