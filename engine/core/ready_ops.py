"""ReadyOps: a backend as a layer sees it, which gives back ops that the layer has built before.

Nets that get images of several sizes reshape again and again. What a backend plans for a shape
(primitives above all) takes longer than a pass over a small image, so it is kept, for few shapes.
"""

from __future__ import annotations

import functools
import gc
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffepy.engine.core.backend import Ops
from caffepy.engine.core.random import Counter
from caffepy.engine.core.record import Recorder
from caffepy.engine.core.storage import Shape

SHAPES = 8  # that a layer keeps ops for, besides those in use
OPS = 16  # that are kept of one `reshape`; what is built in passes would come without end
BYTES = 1 << 26  # of memory that all the ops put aside in one net may hold
LARGE = 1 << 23  # bytes; ops that hold more work on so much that planning anew is little beside it

Shapes = tuple[Shape, ...]


@dataclass
class _Set:
    """What one `reshape` built. made: constructor, arguments, and the op.  held: the bytes of
    arrays that the ops own, None as long as nobody has counted."""

    made: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = field(default_factory=list)
    held: int | None = None


class Shelf:
    """The sets of ops that the layers of a net have put aside, the oldest first."""

    def __init__(self) -> None:
        self._let_go = -1  # the pass in which ops last forgot their arrays
        self._sets: OrderedDict[tuple[int, Shapes], _Set] = OrderedDict()
        self._held = 0

    def __len__(self) -> int:
        return len(self._sets)

    def take(self, layer: int, shapes: Shapes) -> _Set:
        """A layer's ops for bottoms of these shapes; an empty set where there are none."""
        found = self._sets.pop((layer, shapes), None)
        if found is None:
            return _Set()
        self._held -= found.held or 0
        return found

    def put(self, layer: int, shapes: Shapes, used: _Set, ops: Ops, passes: int) -> None:
        """Puts ops aside, unless they are LARGE. What exceeds SHAPES or BYTES is dropped, the
        longest unused first.

        passes: which forward pass of the net it is.
        """
        if self._let_go != passes:  # the values of the shapes before have other arrays now
            self._let_go = passes
            ops.let_go()
        if used.held is None:
            used.held = _held_bytes(ops, [op for *_, op in used.made])
        if used.held > LARGE:
            return
        self._sets[layer, shapes] = used
        self._held += used.held
        own = [key for key in self._sets if key[0] == layer]
        for key in own[: max(0, len(own) - SHAPES)]:
            self.take(*key)
        while self._held > BYTES:
            self.take(*next(iter(self._sets)))


class ReadyOps:
    """The backend `ops`, but for its op constructors: after `begin`, those called with the same
    arguments, in the same order, as after an earlier `begin` for these shapes give the same
    objects."""

    def __init__(self, ops: Ops, shelf: Shelf, passes: Counter, layer: int) -> None:
        """passes: the net's count of forward passes.  layer: a number that tells it from others
        with this shelf."""
        self._ops, self._shelf, self._passes, self._layer = ops, shelf, passes, layer
        self._shapes: Shapes | None = None
        self._used = _Set()
        self._place = 0  # of the next constructor's call in that set

    def begin(self, shapes: Shapes) -> None:
        """What is built from now on is for bottoms of these shapes."""
        if self._shapes is not None:
            passes = self._passes.value
            self._shelf.put(self._layer, self._shapes, self._used, self._ops, passes)
        self._shapes, self._used, self._place = shapes, self._shelf.take(self._layer, shapes), 0

    @property
    def recorder(self) -> Recorder | None:
        return self._ops.recorder

    @recorder.setter
    def recorder(self, recorder: Recorder | None) -> None:
        self._ops.recorder = recorder

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ops, name)
        if isinstance(found, functools.partial):  # as all constructors are
            return functools.partial(self._make, name, found)
        return found

    def _make(self, name: str, build: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        made, place = self._used.made, self._place
        self._place += 1
        if place < len(made) and made[place][:3] == (name, args, kwargs):
            return made[place][3]
        op = build(*args, **kwargs)
        if self._shapes is not None and place < OPS:
            made[place:] = [(name, args, kwargs, op)]
            self._used.held = None
        return op


def _held_bytes(ops: Ops, owners: list[Any]) -> int:
    """The memory of all arrays that objects of the engine hold, but for what is the backend's. A
    class whose objects hold none (after `let_go`) may say so: `holds_arrays = False`."""
    seen = {id(ops), *map(id, gc.get_referents(vars(ops)))}
    waiting, held = list(owners), 0
    while waiting:
        one = waiting.pop()
        while isinstance(one, np.ndarray) and isinstance(one.base, np.ndarray):
            one = one.base
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            held += one.nbytes
        elif isinstance(one, dict | list | tuple | set) or _is_ours(one):
            waiting += gc.get_referents(one)
    return held


def _is_ours(one: object) -> bool:
    kind = type(one)
    return kind.__module__.startswith("caffepy.engine.") and getattr(kind, "holds_arrays", True)
