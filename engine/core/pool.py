"""Pool: memory that values of a net use one after the other."""

from __future__ import annotations

from bisect import bisect_left, insort
from operator import attrgetter

import numpy as np

from caffepy.engine.core.aligned import aligned_zeros
from caffepy.engine.core.layout import Buffer, Layout


class Block:
    """A stretch of memory, and the buffers that were laid into it. order: among blocks of one pool,
    by size, then as they were made."""

    __slots__ = ("_buffers", "memory", "order", "size")

    def __init__(self, size: int, number: int) -> None:
        self.size = size
        self.order = size, number
        self.memory = aligned_zeros(size, np.uint8)
        self._buffers: dict[tuple[Layout, tuple[int, ...]], Buffer] = {}

    def buffer(self, layout: Layout, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        """The buffer of a layout and shape in this memory: the same object each time."""
        key = layout, shape
        found = self._buffers.get(key)
        if found is None:
            found = self._buffers[key] = layout.allocate(shape, dtype, self.memory)
        return found


class Pool:
    """Blocks that are free. A run that takes and gives in the same order each time gets the same
    blocks each time."""

    def __init__(self) -> None:
        self._free: list[Block] = []  # in their order, whoever gave them when
        self._made = 0

    def take(self, size: int) -> Block:
        """The smallest free block of at least `size` bytes; where none is large enough, a new one
        in place of the largest."""
        place = bisect_left(self._free, size, key=attrgetter("size"))
        if place < len(self._free):
            return self._free.pop(place)
        if self._free:
            self._free.pop()
        self._made += 1
        return Block(size, self._made)

    def give(self, block: Block) -> None:
        """Takes a block back, of which nobody uses a buffer any more."""
        insort(self._free, block, key=attrgetter("order"))

    @property
    def free_bytes(self) -> int:
        """The memory of all free blocks."""
        return sum(block.size for block in self._free)
