"""Pool: memory that values of a net use one after the other."""

from __future__ import annotations

from bisect import bisect_left, insort
from operator import attrgetter
from typing import Any

import numpy as np

from caffepy.engine.core.layout import Buffer, Layout


class Block:
    """A stretch of memory, and the buffers that were laid into it. order: among blocks of one pool,
    by size, then as they were made.  space: of the layouts that it is for."""

    __slots__ = ("_buffers", "memory", "order", "size", "space")

    def __init__(self, size: int, number: int, layout: Layout) -> None:
        self.size = size
        self.order = size, number
        self.space = layout.space
        self.memory = layout.zeros(size, np.dtype(np.uint8))
        self._buffers: dict[tuple[Layout, tuple[int, ...], np.dtype], Buffer] = {}

    def buffer(self, layout: Layout, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        """The buffer of a layout, shape and dtype in this memory: the same object each time."""
        key = layout, shape, dtype
        found = self._buffers.get(key)
        if found is None:
            found = self._buffers[key] = layout.allocate(shape, dtype, self.memory)
        return found


class Pool:
    """Blocks that are free. A run that takes and gives in the same order each time gets the same
    blocks each time."""

    def __init__(self) -> None:
        self._free: dict[Any, list[Block]] = {}  # by space; in order, whoever gave them when
        self._made = 0

    def take(self, size: int, layout: Layout) -> Block:
        """The smallest free block of at least `size` bytes in the space of `layout`; where none is
        large enough, a new one in place of the largest."""
        free = self._free.setdefault(layout.space, [])
        place = bisect_left(free, size, key=attrgetter("size"))
        if place < len(free):
            return free.pop(place)
        if free:
            free.pop()
        self._made += 1
        return Block(size, self._made, layout)

    def give(self, block: Block) -> None:
        """Takes a block back, of which nobody uses a buffer any more."""
        insort(self._free[block.space], block, key=attrgetter("order"))

    @property
    def free_bytes(self) -> int:
        """The memory of all free blocks."""
        return sum(block.size for free in self._free.values() for block in free)
