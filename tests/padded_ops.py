"""PaddedOps: a backend that keeps every 4-D value channel-blocked with poisoned padding.

It computes what NumpyOps computes, so any difference shows a layer that assumed plain memory: one
that kept an array over a write, wrote beside an op, or read what it had not asked for.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar

import numpy as np

from caffepy.engine.core.layout import HostLayout
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, op
from caffepy.engine.ops.numpy.backend import NumpyOps

BLOCK = 8
POISON = np.nan


class PaddedLayout(HostLayout):
    """(N, C, H, W) as (N, C/8, H, W, 8), the channels padded with NaN; other ranks flat with a NaN
    before and after."""

    def bytes(self, shape: tuple[int, ...], dtype: np.dtype) -> int:
        return math.prod(_padded(shape)) * dtype.itemsize

    def allocate(
        self, shape: tuple[int, ...], dtype: np.dtype, memory: np.ndarray | None = None
    ) -> np.ndarray:
        if memory is None:
            return np.full(_padded(shape), _poison(dtype), dtype)
        return memory[: self.bytes(shape, dtype)].view(dtype).reshape(_padded(shape))

    def load(self, plain: np.ndarray, buffer: np.ndarray) -> None:
        buffer[...] = _poison(buffer.dtype)
        if plain.ndim == 4:
            n, c, h, w = plain.shape
            poison = _poison(plain.dtype)
            channels = np.full((n, buffer.shape[1] * BLOCK, h, w), poison, plain.dtype)
            channels[:, :c] = plain
            buffer[...] = channels.reshape(n, buffer.shape[1], BLOCK, h, w).transpose(0, 1, 3, 4, 2)
        else:
            buffer[1:-1] = plain.reshape(-1)

    def store(self, buffer: np.ndarray, plain: np.ndarray) -> None:
        if plain.ndim == 4:
            n, c, h, w = plain.shape
            channels = buffer.transpose(0, 1, 4, 2, 3).reshape(n, buffer.shape[1] * BLOCK, h, w)
            plain[...] = channels[:, :c]
        else:
            plain[...] = buffer[1:-1].reshape(plain.shape)

    def convert(self, source: Any, content: Any, buffer: np.ndarray) -> bool:
        return False


def _padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        n, c, h, w = shape
        return n, -(-c // BLOCK), h, w, BLOCK
    return (math.prod(shape) + 2,)


PADDED = PaddedLayout()


class PaddedOps(NumpyOps):
    """NumpyOps behind values that are never plain."""

    name: ClassVar[str] = "padded"

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if isinstance(getattr(NumpyOps, name, None), op):
            return lambda *args, **kwargs: _PaddedOp(self, found(*args, **kwargs))
        return found


class _PaddedOp:
    """An op whose methods see plain copies of padded values."""

    def __init__(self, ops: PaddedOps, inner: Op) -> None:
        self.ops = ops
        self.inner = inner
        inner.ops = NumpyOps(ops.dtype)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        return self._padded(method) if hasattr(method, "step_arguments") else method

    def _padded(self, method: Any) -> Any:
        reads, writes, adds = method.step_arguments
        signature = inspect.signature(method.__func__)
        needed_names = {*reads.split(), *adds.split()}

        def call(op: Any, *args: Any, **kwargs: Any) -> None:
            arguments = signature.bind(op, *args, **kwargs).arguments
            needed = {
                id(value._storage)
                for name in needed_names
                for value in _values(arguments.get(name))
            }
            plain: dict[int, tuple[Value, Value, int]] = {}

            def swap(argument: Any) -> Any:
                if isinstance(argument, Value):
                    return _plain_copy(argument, needed, plain)
                if isinstance(argument, (list, tuple)):
                    return [swap(member) for member in argument]
                return argument

            method(*map(swap, args), **{name: swap(value) for name, value in kwargs.items()})
            for value, copy, version in plain.values():
                if copy.version != version:
                    PADDED.load(copy.read(), value.write(PADDED))

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__name__, call.__qualname__ = method.__name__, method.__qualname__
        return step(reads=reads, writes=writes, adds=adds)(call).__get__(self)


def _values(argument: Any) -> list[Value]:
    members = argument if isinstance(argument, (list, tuple)) else [argument]
    return [member for member in members if isinstance(member, Value)]


def _poison(dtype: np.dtype) -> float:
    """What nobody should read: the least number of integers, which have no NaN."""
    return np.iinfo(dtype).min if dtype.kind == "i" else POISON


def _plain_copy(
    value: Value, needed: set[int], plain: dict[int, tuple[Value, Value, int]]
) -> Value:
    """One copy per memory, so that in-place ops work; poison where it is only written."""
    key = id(value._storage)
    if key not in plain:
        copy = Value(value.shape, value.dtype)
        if key in needed:
            PADDED.store(value.read(PADDED), copy.write())
        else:
            copy.write()[...] = _poison(copy.dtype)
        plain[key] = value, copy, copy.version
    copy = plain[key][1]
    return copy if copy.shape == value.shape else copy.viewed(value.shape)
