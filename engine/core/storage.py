"""Storage: the memory behind a value and its aliases, in the layouts that it was asked for."""

from __future__ import annotations

import math
import weakref
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from caffepy.engine.core.layout import PLAIN, Buffer, Layout
from caffepy.engine.core.pool import Block, Pool

Shape = tuple[int, ...]


class Owner:
    """Keeps plain memory alive behind a leased array.

    numpy lets views skip to the owner of their memory. An array made from this object has a base
    that is no array, so views stop at it, and a weak reference to it tells whether any view still
    lives.
    """

    __slots__ = ("__array_interface__", "_memory")

    def __init__(self, memory: np.ndarray) -> None:
        self._memory = memory
        self.__array_interface__ = memory.__array_interface__


class Copy(Protocol):
    """A value, as far as this module knows one."""

    def release(self) -> None: ...


C = TypeVar("C", bound=Copy)


class Rounding(Generic[C]):
    """A copy of a value that keeps less of each number: never taken for the value itself.

    copy: flat.  version: of the value, when the copy was made; -1: it is out of date.
    """

    __slots__ = ("copy", "version")

    def __init__(self, copy: C) -> None:
        self.copy = copy
        self.version = -1


class Storage:
    """The memory of a value and of its aliases: plain elements and copies in other layouts.

    plain is flat and may be longer than needed (values shrink without giving memory back); it
    changes by `take_plain` only.
    A copy is known by its layout and what that makes of the shape it was made for (`Layout.key`),
    since aliases differ in shape.
    written is the key of the last write, None where that was to plain memory.
    pool: where memory is taken from, block by block in `blocks`, and given back by `release`.
    rounding: the rounded copy, where one was made.
    """

    __slots__ = (
        "blocks",
        "copies",
        "dtype",
        "fresh",
        "home",
        "plain",
        "plain_is_fresh",
        "pool",
        "root",
        "rounding",
        "version",
        "views",
        "written",
    )

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.plain: np.ndarray | None = None
        self.views: dict[Shape, np.ndarray] = {}  # of plain, by shape
        self.plain_is_fresh = False
        self.copies: dict[tuple[Layout, Shape], Buffer] = {}
        self.fresh: set[tuple[Layout, Shape]] = set()
        self.root: weakref.ref[np.ndarray] | None = None
        self.home: Layout | None = None
        self.version = 0
        self.written: tuple[Layout, Shape] | None = None
        self.pool: Pool | None = None
        self.blocks: list[Block] = []
        self.rounding: Rounding[Any] | None = None

    @property
    def leased(self) -> bool:
        if self.root is None:
            return False
        if self.root() is None:
            self.root = None
            self.version += 1  # it may have been written up to its end
            return False
        return True

    def take_plain(self, memory: np.ndarray | None) -> None:
        """Makes a flat array the plain memory; the content is not looked at."""
        self.plain = memory
        self.views.clear()

    def view(self, shape: Shape) -> np.ndarray:
        """Plain memory, which there must be, in a shape: the same array each time."""
        found = self.views.get(shape)
        if found is None:
            assert self.plain is not None, "callers reserve it"
            found = self.views[shape] = self.plain[: math.prod(shape)].reshape(shape)
        return found

    def reserve_plain(self, count: int) -> np.ndarray:
        """Plain memory for at least `count` elements; what was in it stays where it was, zeros
        follow."""
        old = self.plain
        if old is not None and old.size >= count:
            return old
        plain: np.ndarray = self.allocate(PLAIN, (count,))
        self.take_plain(plain)
        if old is not None:
            plain[: old.size] = old
            plain[old.size :] = 0
        self.root = None  # an array leased before goes on showing the old memory
        return plain

    def allocate(self, layout: Layout, shape: Shape) -> Buffer:
        """A new buffer, in memory of the pool where there is one."""
        size = 0 if self.pool is None else layout.bytes(shape, self.dtype)
        if self.pool is None or not size:
            return layout.allocate(shape, self.dtype)
        block = self.pool.take(size, layout)
        self.blocks.append(block)
        return block.buffer(layout, shape, self.dtype)

    def release(self) -> None:
        """Gives all memory back to the pool; the content is lost, and reads as zeros."""
        self.version += 1
        self.take_plain(None)
        self.plain_is_fresh = False
        self.copies.clear()
        self.fresh.clear()
        self.written = None
        if self.pool is not None:
            for block in self.blocks:
                self.pool.give(block)
        self.blocks.clear()
        if self.rounding is not None:
            self.rounding.copy.release()
            self.rounding = None

    def bring_plain(self, count: int) -> np.ndarray:
        """Plain memory holding the content, zeros where nothing was ever written."""
        plain = self.reserve_plain(count)
        if not self.plain_is_fresh:
            if self.fresh:
                layout, shape = next(iter(self.fresh))
                source = self.copies[layout, shape]
                layout.store(source, plain[: math.prod(shape)].reshape(shape))
            else:
                plain[:] = 0
            self.plain_is_fresh = True
        return plain
