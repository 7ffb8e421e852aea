"""The memory of the host runtime's device, apart from the host's as that of a GPU is.

What is allocated is filled with 0xFF bytes (nan), and lies between guard zones of the same, which
tell of a kernel that writes where it may not.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from caffepy.engine.core.errors import DeviceError

POISON = 0xFF
GUARD_BYTES = 1024
ALIGNMENT = 256  # of what a GPU allocates
_GUARD = bytes([POISON]) * GUARD_BYTES


class Memory:
    """One allocation. bytes: (size,) uint8."""

    __slots__ = ("__weakref__", "_after", "_before", "bytes")

    def __init__(self, size: int) -> None:
        room = np.full(GUARD_BYTES + ALIGNMENT + size + GUARD_BYTES, POISON, np.uint8)
        start = GUARD_BYTES + -(room.ctypes.data + GUARD_BYTES) % ALIGNMENT
        self._before = room[start - GUARD_BYTES : start]
        self.bytes = room[start : start + size]
        self._after = room[start + size : start + size + GUARD_BYTES]

    def overrun(self) -> str | None:
        """Where something was written beside the allocation."""
        if self._before.tobytes() != _GUARD:
            return "before it"
        return "behind it" if self._after.tobytes() != _GUARD else None


class DeviceArray:
    """A flat array in a device's memory, a buffer of the runtime. The host cannot use it: nothing
    but the runtime reads `content`.

    memory: the allocation it is in.  address: of its first element.
    """

    __slots__ = ("address", "content", "dtype", "memory", "nbytes", "size")
    __array_ufunc__ = None  # numpy refuses it as an operand

    def __init__(self, memory: Memory, content: np.ndarray) -> None:
        self.memory = memory
        self.content = content
        self.address: int = content.ctypes.data
        self.size = content.size
        self.dtype = content.dtype
        self.nbytes = content.nbytes

    def __getitem__(self, part: slice) -> DeviceArray:
        assert isinstance(part, slice), f"expected a slice of a device's array, got {part!r}"
        assert part.step in (None, 1), f"expected a slice without gaps, got {part!r}"
        return DeviceArray(self.memory, self.content[part])

    def view(self, dtype: Any) -> DeviceArray:
        """The same bytes as elements of another type."""
        return DeviceArray(self.memory, self.content.view(dtype))

    def poison(self) -> None:
        """Makes all elements what fresh memory holds."""
        self.content.view(np.uint8).fill(POISON)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the host cannot read an array of a device: download it")


@dataclass(frozen=True)
class Address:
    """Where a captured array lies. As on a GPU, this does not keep the memory."""

    memory: weakref.ref[Memory]
    start: int
    nbytes: int
    dtype: np.dtype

    @classmethod
    def of(cls, array: DeviceArray) -> Address:
        """start: bytes from the beginning of its allocation."""
        start = array.address - array.memory.bytes.ctypes.data
        return cls(weakref.ref(array.memory), start, array.nbytes, array.dtype)

    def array(self) -> DeviceArray:
        """The array. Raises: DeviceError where its memory was given back."""
        memory = self.memory()
        if memory is None:
            raise DeviceError(
                "graph: expected that the memory it was captured with is kept, got a buffer that "
                "was given back. Hold on to it."
            )
        content = memory.bytes[self.start : self.start + self.nbytes].view(self.dtype)
        return DeviceArray(memory, content)
