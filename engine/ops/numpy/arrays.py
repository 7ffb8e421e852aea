"""How numpy ops reach the memory of their values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import Shape

CHUNK = 1 << 17  # elements of each of a few arrays: what is made of them stays in the cache


def in_place(x: Value, out: Value) -> bool:
    """Whether writing `out` overwrites `x`."""
    return out is x or out.shares_memory_with(x)


def source_and_target(x: Value, out: Value) -> tuple[np.ndarray, np.ndarray]:
    """The arrays to read and to overwrite, both in their value's shape; they are one memory when
    the op works in place."""
    if in_place(x, out):
        target = out.modify()
        return target.reshape(x.shape), target
    return x.read(), out.write()


def chunks(*arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Views of contiguous arrays with as many elements, flat, CHUNK elements at a time, for what
    takes several passes or scratch."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, CHUNK):
        yield [array[start : start + CHUNK] for array in flat]


def blocks(shape: Shape) -> Iterator[tuple[slice, slice]]:
    """The same along the first two axes of (outer, size, inner): whole samples where they are
    small, else some channels of one."""
    outer, size, inner = shape
    channels = max(1, min(size, CHUNK // max(1, inner)))
    samples = max(1, CHUNK // max(1, channels * inner))
    for sample in range(0, outer, samples):
        for channel in range(0, size, channels):
            yield slice(sample, sample + samples), slice(channel, channel + channels)


class Scratch:
    """Memory that the ops of one backend use in turn, so that none is fetched from the system in
    each pass: fresh pages cost more than most arithmetic on them."""

    def __init__(self) -> None:
        self._memory: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array with undefined content, which stays valid until the next call with the same
        name."""
        dtype = np.dtype(dtype)
        count = math.prod(shape)
        memory = self._memory.get(name)
        if memory is None or memory.nbytes < count * dtype.itemsize:
            memory = self._memory[name] = np.empty(count * dtype.itemsize, np.uint8)
        array: np.ndarray = memory[: count * dtype.itemsize].view(dtype).reshape(shape)
        return array


class HostOps(Ops, Protocol):
    """A backend on host memory, as its ops see it."""

    scratch: Scratch


class ScratchOp(Op):
    """Base of ops that use their backend's scratch."""

    ops: HostOps

    def take(self, name: str, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
        """An array of scratch, of the backend's dtype unless another is given."""
        return self.ops.scratch.take(name, shape, dtype or self.ops.dtype)


class Kept:
    """What an op's backward needs of an input that its forward may overwrite: a copy where it
    does."""

    def __init__(self) -> None:
        self._copy: np.ndarray | None = None

    def keep(self, x: Value, out: Value) -> None:
        """Before a forward pass from `x` to `out`."""
        if not in_place(x, out):
            self._copy = None
        elif self._copy is None:
            self._copy = x.read().copy()
        else:
            np.copyto(self._copy, x.read())

    def read(self, x: Value) -> np.ndarray:
        """The input of the last forward pass, given the value that held it."""
        return x.read() if self._copy is None else self._copy
