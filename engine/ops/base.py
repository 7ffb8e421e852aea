"""Ops: a backend, the maker of op objects for one device.

An op object is built once per shape by a layer's `reshape`: `ops.convolution(geometry)`. Its
methods take Values, outputs included (`out=` is overwritten, `add_*=` is added to), and it owns its
scratch and plans. The reference classes in `ops/numpy/` define each op's methods; a class of
another backend has the same methods with the same argument names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from caffepy.engine.core.backend import Ops
from caffepy.engine.core.record import Step

__all__ = ["Op", "Ops", "Prospect", "op"]


@dataclass(frozen=True)
class Prospect:
    """What a step may know of the run that it is part of. Values go by their `storage_id`.

    written: what the run writes.  spare: what nobody reads after the later one of two steps, and
    what need not be written then.
    """

    written: Collection[int]
    spare: Collection[int]


class Op:
    """Base of op objects."""

    def __init__(self, ops: Ops) -> None:
        self.ops = ops

    @classmethod
    def supports(cls, ops: Ops, *args: Any, **kwargs: Any) -> bool:
        """Whether this class can do what the constructor's arguments ask for."""
        return True

    def merged(self, step: Step, after: Step) -> Step | None:
        """One step in place of two: `step`, a call of this op, and `after`, a later one that may
        run right after it: a call of an op, or what follows at once.

        None where that is not possible. It leaves in all values what the two would; where Python
        code holds an array of a value between them, it runs the two.
        """
        return None

    def folded(self, step: Step, after: Step, prospect: Prospect) -> Step | None:
        """As `merged`, in a run that no backward pass follows: what the two leave in values may
        differ by rounding, and in spare ones altogether."""
        return None

    def unfold(self) -> None:
        """Of an op made by `folded`: lets the ops of its steps know what their backward passes
        need, as if they had run."""

    def rearranged(self, before: Sequence[Step], step: Step) -> tuple[int, Sequence[Step]] | None:
        """How many of the last steps `before`, and the steps to take their place and that of
        `step`, a call of this op.

        None where all is to stay. It holds what is said of `merged`.
        """
        return None


T = TypeVar("T", bound=Op)


class op(Generic[T]):
    """Declares an op constructor of a backend: the first class that supports the arguments is
    built."""

    def __init__(self, *classes: type[T]) -> None:
        self.classes = classes

    def __get__(self, ops: Ops | None, owner: type[Ops]) -> Callable[..., T]:
        if ops is None:
            return self  # type: ignore[return-value]
        return functools.partial(self._build, ops)

    def _build(self, ops: Ops, *args: Any, **kwargs: Any) -> T:
        for cls in self.classes[:-1]:
            if cls.supports(ops, *args, **kwargs):
                return cls(ops, *args, **kwargs)
        return self.classes[-1](ops, *args, **kwargs)
