"""Products: matrix products in the precision of a backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from caffepy.engine.core.layout import Buffer, Layout
from caffepy.engine.core.storage import Rounding
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.port import CudaRuntime, Product
from caffepy.engine.ops.cuda.workspace import Workspace
from caffepy.engine.ops.kernels import Kernels

# What the halves of factors are to the runtime; values of them are of HALF, their bits.
HALVES = {"fp16": np.dtype(np.float16), "bf16": np.dtype(np.uint16)}
HALF = np.dtype(np.uint16)


class Multiplying(Protocol):
    """What Products need of their backend."""

    runtime: CudaRuntime
    layout: Layout
    precision: str
    workspace: Workspace

    def kernels(self, family: str) -> Kernels:
        """The kernels of `kernels/<family>.cu`."""


class Products:
    """Multiplies values. Sums and results are of the backend's dtype, whatever the precision.

    With fp16 and bf16 factors are rounded to 16 bits by a kernel: to the nearest, to the even one
    of two; in fp16 what is beyond 65504 becomes inf. A value that is a factor as a whole is rounded
    once for each write, whichever products it is in: weights once after each update, what a layer
    reads in the forward pass not again in the backward pass. The rounded copies stay beside the
    values, and are given up with their memory.

    A graph holds the kernels that were called for while it was captured. So what a graph does not
    round itself it takes as rounded by others, and `Reliance` tells whether it still is.

    half: whether factors are rounded to 16 bits.
    """

    def __init__(self, ops: Multiplying) -> None:
        self._ops = ops
        self._dtype = HALVES.get(ops.precision)
        self.half = self._dtype is not None
        self._precision = "tf32" if ops.precision == "tf32" else "fp32"
        self._captured: Reliance | None = None

    def multiply(self, product: Product, a: Value, b: Value, out: Value) -> None:
        """Writes `out`, or adds to it. a, b: of the backend's dtype, or rounded: of HALF."""
        ops = self._ops
        if self._dtype is None:
            left, right = a.read(ops.layout), b.read(ops.layout)
        else:
            m, n, k, batch = product.m, product.n, product.k, product.batch
            shape = (k, m) if product.transpose_a else (m, k)
            count = _count(shape, product.a_row, batch, product.a_step)
            left, a_start = self._half_of(a, product.a_start, count, "left")
            shape = (n, k) if product.transpose_b else (k, n)
            count = _count(shape, product.b_row, batch, product.b_step)
            right, b_start = self._half_of(b, product.b_start, count, "right")
            product = replace(product, a_start=a_start, b_start=b_start)
        target = out.modify(ops.layout) if product.add else out.write(ops.layout)
        ops.runtime.multiply(product, left, right, target, self._precision)

    def factor(self, value: Value) -> Buffer:
        """All of a value as a library of products takes it: rounded where factors are."""
        if self._dtype is None:
            return value.read(self._ops.layout)
        return self._rounded(value).read(self._ops.layout).view(self._dtype)

    def kernel(self, name: str, out: Value) -> str:
        """The kernel of a name that writes `out`, of the backend's dtype or of HALF."""
        return f"{name}_{self._ops.precision}" if out.dtype == HALF else name

    @contextlib.contextmanager
    def captured(self, alone: bool) -> Iterator[Reliance]:
        """While a graph is captured. Gives what it relies on, whole at the end.

        alone: on nothing that was rounded before.
        """
        reliance = self._captured = Reliance(self._ops.layout, alone)
        try:
            yield reliance
        except BaseException:
            reliance.undo()  # what it was to round was not
            raise
        finally:
            self._captured = None
        reliance.end()

    def _half_of(self, value: Value, start: int, count: int, name: str) -> tuple[Buffer, int]:
        """A factor as the runtime takes it, and where in it the first element is.

        start, count: the elements that the product reads.  name: of the workspace for a part.
        """
        layout = self._ops.layout
        if value.dtype == HALF:
            made = value
        elif start == 0 and count >= value.count:
            made = self._rounded(value)
        else:
            self._ops.workspace.reserve(name, count, HALF)
            made = self._ops.workspace.take(name)
            self._cast(value, made, start, count)
            start = 0
        return made.read(layout).view(self._dtype), start

    def _rounded(self, value: Value) -> Value:
        """The rounded copy of a value, made where it is out of date."""
        captured = self._captured
        if captured is not None:
            captured.take(value)
        rounding = value.rounded(HALF, self._make)
        if captured is not None:
            captured.add(value, rounding)
        return rounding.copy

    def _make(self, value: Value, copy: Value) -> None:
        self._cast(value, copy, 0, value.count)

    def _cast(self, value: Value, out: Value, start: int, count: int) -> None:
        kernel = self.kernel("cast", out)
        self._ops.kernels("cast").launch(kernel, count, start, value, out)


@dataclass
class _Use:
    """A rounded copy that a graph uses, and where it was."""

    value: Value
    rounding: Rounding[Value]
    key: tuple[Layout, tuple[int, ...]]
    buffer: Buffer

    @property
    def is_there(self) -> bool:
        """Whether it still is."""
        return self.rounding.copy.holds(self.key, self.buffer)


class Reliance:
    """The rounded copies that a graph reads, and those that it makes.

    alone: it makes all that it reads.
    """

    def __init__(self, layout: Layout, alone: bool) -> None:
        self._layout = layout
        self._alone = alone
        self._read: dict[int, _Use] = {}  # by the id of the rounding, which it keeps
        self._made: dict[int, _Use] = {}

    def take(self, value: Value) -> None:
        """A copy of a value is going to be read."""
        rounding = value.rounding
        if rounding is None or id(rounding) in self._made:
            return
        if self._alone:
            rounding.version = -1
        else:
            self._read.setdefault(id(rounding), self._use(value, rounding))

    def add(self, value: Value, rounding: Rounding[Value]) -> None:
        """The copy is read: it was made now, unless it was there when it was taken."""
        if id(rounding) not in self._read:
            self._made[id(rounding)] = self._use(value, rounding)

    def undo(self) -> None:
        """None of the copies was made."""
        for one in self._made.values():
            one.rounding.version = -1

    def end(self) -> None:
        """From now on only what the graph leaves up to date counts as made."""
        self._made = {
            key: one for key, one in self._made.items() if one.value.rounding is one.rounding
        }

    @property
    def holds(self) -> bool:
        """Whether the copies that the graph reads are up to date, and all are where they were."""
        return all(
            one.value.rounding is one.rounding and one.is_there for one in self._read.values()
        ) and all(one.is_there for one in self._made.values())

    def confirm(self) -> None:
        """The graph was launched: what it makes is up to date."""
        for one in self._made.values():
            one.value.confirm(one.rounding)

    def _use(self, value: Value, rounding: Rounding[Value]) -> _Use:
        layout, copy = self._layout, rounding.copy
        return _Use(value, rounding, (layout, layout.key(copy.shape)), copy.read(layout))


def _count(shape: tuple[int, int], row: int | None, batch: int, step: int) -> int:
    """The elements from the first of a batch of matrices to the last, as they lie."""
    rows, columns = shape
    if not rows or not columns or not batch:
        return 0
    return (batch - 1) * step + (rows - 1) * (row or columns) + columns
