"""Value: one array of a blob, wherever and however its elements lie."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from caffepy.engine.core.layout import PLAIN, Buffer, Layout
from caffepy.engine.core.pool import Pool
from caffepy.engine.core.storage import Owner, Rounding, Shape, Storage


class Epoch:
    """Counts the shape changes among the values of one net, without those of values that vary; a
    recorded Program is valid for one count."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Value:
    """One array of a blob: a shape and a dtype, and memory that is reached by naming a layout.

    Copies in several layouts may exist; those that agree with the last write are fresh. `read`
    converts at most once per write and keeps the result.

    varies: whether its shape may be another in each pass, of which Programs need not know.
    """

    __slots__ = ("_epoch", "_storage", "shape", "varies")

    def __init__(
        self, shape: Shape = (), dtype: Any = np.float32, epoch: Epoch | None = None
    ) -> None:
        self.shape: Shape = tuple(shape)
        self.varies = False
        self._epoch = epoch or Epoch()
        self._storage = Storage(np.dtype(dtype))

    @property
    def dtype(self) -> np.dtype:
        return self._storage.dtype

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def version(self) -> int:
        """Grows with every write. A leased value may have been written at any time: always new."""
        if self._storage.leased:
            self._storage.version += 1
        return self._storage.version

    @property
    def allocated(self) -> bool:
        """Whether anything was ever written or leased."""
        storage = self._storage
        return storage.plain_is_fresh or bool(storage.fresh)

    @property
    def leased(self) -> bool:
        """Whether Python code holds an array of this value's memory."""
        return self._storage.leased

    @property
    def on_host(self) -> bool:
        """Whether `read` gives plain memory that is there already."""
        return self._storage.plain_is_fresh

    def holds(self, key: tuple[Layout, Shape], buffer: Buffer) -> bool:
        """Whether `buffer` is this value's memory in a layout, whatever is in it. key: as for
        `retake`."""
        return self._storage.copies.get(key) is buffer

    @property
    def storage_id(self) -> int:
        """Equal for values that share memory, while they live."""
        return id(self._storage)

    @property
    def home(self) -> Layout:
        """The layout in which elementwise updates of this value run."""
        return self._storage.home or PLAIN

    @property
    def fresh_layout(self) -> Layout:
        """The layout of the last write, in which reading costs no conversion; PLAIN where this
        value is leased, or an alias of another shape wrote last."""
        storage = self._storage
        written = storage.written
        if (
            written is None
            or written not in storage.fresh
            or written[1] != written[0].key(self.shape)
            or storage.leased
        ):
            return PLAIN
        return written[0]

    def prefer(self, layout: Layout) -> None:
        """Makes `layout` the home, unless an earlier user chose one."""
        if self._storage.home is None:
            self._storage.home = layout

    def reshape(self, shape: Shape) -> bool:
        """Takes another shape; True where it differs. Elements keep their place in C order."""
        shape = tuple(shape)
        if shape == self.shape:
            return False
        storage = self._storage
        if storage.fresh:
            storage.bring_plain(self.count)
        storage.copies.clear()
        storage.fresh.clear()
        storage.rounding = None
        if storage.plain_is_fresh:
            storage.reserve_plain(math.prod(shape))
        self._take_shape(shape)
        return True

    def alias(self, other: Value, shape: Shape | None = None) -> None:
        """From now on the same memory as `other`, seen in `shape` (of as many elements)."""
        shape = other.shape if shape is None else tuple(shape)
        assert math.prod(shape) == other.count, f"{shape} does not alias {other.shape}"
        if self._storage is not other._storage:
            self._storage = other._storage
        if shape != self.shape:
            self._take_shape(shape)

    def viewed(self, shape: Shape) -> Value:
        """A new alias of this value in another shape."""
        view = Value(shape, self.dtype, Epoch())
        view.alias(self, shape)
        return view

    def shares_memory_with(self, other: Value) -> bool:
        """Whether one is an alias of the other."""
        return self._storage is other._storage

    def read(self, layout: Layout = PLAIN) -> Buffer:
        """A buffer in `layout` with the content, for reading only."""
        storage = self._storage
        if layout is PLAIN:
            if not storage.plain_is_fresh:
                storage.bring_plain(self.count)
            return storage.view(self.shape)
        key = (layout, layout.key(self.shape))
        leased = storage.leased
        if key in storage.fresh and not leased:
            return storage.copies[key]
        buffer = self._copy(layout)
        if not leased and not self.allocated:
            layout.clear(buffer)
        elif leased or not self._convert(key, buffer):
            layout.load(self.read(), buffer)
        if not leased:
            storage.fresh.add(key)
        return buffer

    def write(self, layout: Layout = PLAIN) -> Buffer:
        """A buffer in `layout`, content undefined, that from now on is the only fresh one."""
        storage = self._storage
        storage.version += 1
        if layout is PLAIN:
            storage.fresh.clear()
            storage.written = None
            storage.reserve_plain(self.count)
            storage.plain_is_fresh = True
            return storage.view(self.shape)
        buffer = self._copy(layout)  # first: a device may have no memory for it
        storage.fresh.clear()
        storage.plain_is_fresh = False
        key = (layout, layout.key(self.shape))
        storage.written = key
        storage.fresh.add(key)
        return buffer

    @property
    def rounding(self) -> Rounding[Value] | None:
        """The rounded copy, where it agrees with the last write."""
        rounding = self._storage.rounding
        return rounding if rounding is not None and rounding.version == self.version else None

    def rounded(self, dtype: Any, make: Callable[[Value, Value], None]) -> Rounding[Value]:
        """A copy of another dtype, flat, which keeps less of each number; `make(value, copy)` is
        called at most once for each write."""
        storage = self._storage
        rounding = storage.rounding
        if rounding is None or rounding.copy.count != self.count:
            rounding = storage.rounding = Rounding(Value((self.count,), dtype))
            if storage.pool is not None:
                rounding.copy.borrow(storage.pool)
        version = self.version
        if rounding.version != version:
            make(self, rounding.copy)
            rounding.version = version
        return rounding

    def confirm(self, rounding: Rounding[Value]) -> None:
        """`rounding`, once given by `rounded`, was made anew since the last write."""
        self._storage.rounding = rounding
        rounding.version = self.version

    def clear(self) -> None:
        """Makes all elements zero. Memory is touched when the value is next read, and not at all
        where an op writes it first: then it is not `allocated`."""
        storage = self._storage
        storage.version += 1
        storage.fresh.clear()
        storage.plain_is_fresh = False
        if storage.leased:
            storage.bring_plain(self.count)

    def modify(self, layout: Layout = PLAIN) -> Buffer:
        """The content in `layout`, to be changed in place; from now on the only fresh one."""
        buffer = self.read(layout)
        self.write(layout)
        return buffer

    def retake(self, key: tuple[Layout, Shape], buffer: Buffer, *, change: bool) -> bool:
        """`modify`, or `read` without `change`, where that is to give `buffer`, which was there
        before: True where it does at once. False, having done nothing, where there is work to do.

        key: the layout, no plain one, and its key of the value's shape.
        """
        storage = self._storage
        fresh = storage.fresh
        if key not in fresh or storage.root is not None or storage.copies[key] is not buffer:
            return False
        if change:
            storage.version += 1
            storage.written = key
            storage.plain_is_fresh = False
            if len(fresh) > 1:
                fresh.clear()
                fresh.add(key)
        return True

    def lease(self) -> np.ndarray:
        """The content as a plain array that may be read and written at any time while it lives.

        As long as this array or a view of it exists, plain memory is the truth: steps that read the
        value import from it, steps that write the value export to it (`settle`).
        """
        storage = self._storage
        memory = storage.bring_plain(self.count)
        storage.fresh.clear()
        root = storage.root() if storage.root is not None else None
        if root is None:
            root = np.asarray(Owner(memory))
            storage.root = weakref.ref(root)
        return root[: self.count].reshape(self.shape)

    def settle(self) -> None:
        """After a step wrote: a living lease shows the new content."""
        storage = self._storage
        if storage.leased and storage.fresh:
            storage.bring_plain(self.count)
            storage.fresh.clear()

    def content(self) -> np.ndarray:
        """The content as a plain array, for reading once: no plain memory is kept for it."""
        storage = self._storage
        if storage.plain_is_fresh or not storage.fresh:
            plain: np.ndarray = self.read()
            return plain
        layout, shape = next(iter(storage.fresh))
        array: np.ndarray = np.empty(shape, self.dtype)
        layout.store(storage.copies[layout, shape], array)
        return array if shape == self.shape else array.reshape(self.shape)

    def drop_plain(self) -> None:
        """Gives plain memory back where another layout holds the content too."""
        storage = self._storage
        if storage.fresh and not storage.leased:
            storage.take_plain(None)
            storage.plain_is_fresh = False

    def move_to(self, memory: np.ndarray, layout: Layout = PLAIN) -> None:
        """Makes a flat array (part of a larger one) the memory of this value in `layout`, content
        kept, and gives its other memory back. Nobody may hold a lease.

        memory: zeros, as many as a buffer of that layout has elements.
        """
        storage = self._storage
        allocated = self.allocated
        if allocated:
            layout.copy(layout.elements(self.read(layout)), memory)
        storage.copies.clear()
        storage.fresh.clear()
        storage.take_plain(memory if layout is PLAIN else None)
        storage.root = storage.written = None
        storage.plain_is_fresh = allocated and layout is PLAIN
        if layout is PLAIN:
            return
        key = (layout, layout.key(self.shape))
        storage.copies[key] = layout.allocate(self.shape, self.dtype, memory.view(np.uint8))
        if allocated:
            storage.fresh.add(key)
            storage.written = key

    def borrow(self, pool: Pool) -> None:
        """From now on takes its memory from `pool`; what it has is dropped with its content."""
        self._storage.release()
        self._storage.pool = pool

    def stay(self) -> None:
        """From now on keeps the memory it has, borrowed or not."""
        self._storage.pool = None
        self._storage.blocks.clear()

    def release(self) -> None:
        """Gives borrowed memory back: the content is needed no more, and is lost, unless Python
        code holds an array of it."""
        storage = self._storage
        if storage.pool is not None and not storage.leased:
            storage.release()

    def _take_shape(self, shape: Shape) -> None:
        self.shape = shape
        if not self.varies:
            self._epoch.count += 1

    def _copy(self, layout: Layout) -> Buffer:
        """The buffer in a layout, whatever it holds."""
        copies = self._storage.copies
        key = (layout, layout.key(self.shape))
        if key not in copies:
            copies[key] = self._storage.allocate(layout, self.shape)
        return copies[key]

    def _convert(self, key: tuple[Layout, Shape], buffer: Buffer) -> bool:
        """Fills `buffer` from a fresh copy of the same shape directly, where a layout can."""
        storage = self._storage
        if storage.plain_is_fresh:
            return False
        layout, _ = key
        return any(
            source.key(self.shape) == source_key
            and layout.convert(source, storage.copies[source, source_key], buffer)
            for source, source_key in storage.fresh
        )

    def __repr__(self) -> str:
        return f"Value({self.shape}, {self.dtype})"
