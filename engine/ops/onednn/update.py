"""Updates of parameters on oneDNN: chains of its primitives, in the threads that it has already."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.update import LarsUpdate, NesterovUpdate, SgdUpdate, Update
from caffepy.engine.ops.onednn.binding import Algorithm
from caffepy.engine.ops.onednn.piecewise import Piecewise, Plus, Root, Stage, Then
from caffepy.engine.ops.onednn.port import PrimitiveOps

ADD, SUBTRACT = Algorithm.BINARY_ADD, Algorithm.BINARY_SUBTRACT
MULTIPLY, DIVIDE = Algorithm.BINARY_MUL, Algorithm.BINARY_DIVIDE
LARGEST = float(np.finfo(np.float32).max)


class PiecewiseUpdate(Update):
    """Base of updates by stages. `data` and `diff` are names of arrays; the numbers `scale`,
    `decay`, which g is made of by `gradient`, and `one`."""

    ops: PrimitiveOps  # type: ignore[assignment] # OneDnnOps is both

    @classmethod
    def supports(
        cls, ops: Ops, l1: bool = False, norm_decay: bool = False, clip: bool = False
    ) -> bool:
        """The library has no sign. The other two are those of LarsUpdate."""
        return not l1

    def run(
        self,
        stages: Callable[..., Sequence[Stage]],
        arguments: Sequence[bool | float],
        values: Mapping[str, Value],
        numbers: Mapping[str, float],
        *,
        factor: float,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> bool:
        """Runs the stages that `stages(decayed, keep_diff, *arguments)` makes, which are kept;
        False, having done nothing, where numbers leave the range of float32.

        decayed: whether g has a term of decay.  values: data, diff and histories, by name.
        numbers: beside those of g, which is multiplied by `factor`.
        """
        inner = decay / scale if scale else LARGEST * 2  # the primitives multiply by scale last
        numbers = {**numbers, "scale": scale * factor, "decay": inner, "one": 1.0}
        if not all(abs(number) <= LARGEST for number in numbers.values()):
            return False
        home = values["data"].home
        arrays = {
            name: home.elements(
                value.read(home) if name == "diff" and not keep_diff else value.modify(home)
            )
            for name, value in values.items()
        }
        key = bool(decay), keep_diff, *arguments
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = Piecewise(self.ops, stages(*key), list(numbers))
        chain(arrays, numbers)
        return True

    @functools.cached_property
    def _chains(self) -> dict[tuple[bool | float, ...], Piecewise]:
        return {}


def gradient(target: str, decayed: bool, *after: Then | Plus) -> Stage:
    """target = g, and on it what comes after."""
    if not decayed:
        return Stage(target, "diff", MULTIPLY, "scale", after)
    with_decay = Then(ADD, "diff"), Then(MULTIPLY, "scale")
    return Stage(target, "data", MULTIPLY, "decay", (*with_decay, *after))


def root(target: str, squares: str, *after: Then) -> Stage:
    """target = sqrt(squares), and on it what comes after."""
    return Stage(target, squares, MULTIPLY, "one", (Root(), *after))


class _Descent(PiecewiseUpdate):
    """What SgdUpdate does, in its place."""

    def descend(
        self,
        data: Value,
        diff: Value,
        history: Value,
        rate: float,
        momentum: float,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> None:
        values = {"data": data, "diff": diff, "history": history}
        if not self.run(
            _descent, [momentum], values, {},
            factor=rate, scale=scale, decay=decay, keep_diff=keep_diff,
        ):  # fmt: skip
            super().descend(data, diff, history, rate, momentum, scale, decay, keep_diff)  # type: ignore[misc]


def _descent(decayed: bool, keep_diff: bool, momentum: float) -> list[Stage]:
    return [
        gradient("history", decayed, Plus(momentum)),
        Stage("data", "data", SUBTRACT, "history"),
        *([Stage("diff", "history", MULTIPLY, "one")] if keep_diff else []),
    ]


class OneDnnSgd(_Descent, SgdUpdate):
    """Stochastic gradient descent with momentum."""


class OneDnnLars(_Descent, LarsUpdate):
    """Gradient descent whose rate follows from the norms of a parameter and its gradient; the norms
    are numpy's."""


class OneDnnNesterov(PiecewiseUpdate, NesterovUpdate):
    """Nesterov's accelerated gradient."""

    @step(reads="data diff history", writes="data diff history")
    def update(
        self,
        data: Value,
        diff: Value,
        history: Value,
        *,
        rate: float,
        momentum: float,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> None:
        """As NesterovUpdate."""
        values = {"data": data, "diff": diff, "history": history}
        numbers = {"momentum": momentum, "lead": 1 + momentum, "minus one": -1.0}
        if not self.run(
            _accelerated, [], values, numbers,
            factor=rate, scale=scale, decay=decay, keep_diff=keep_diff,
        ):  # fmt: skip
            super().update(
                data, diff, history,
                rate=rate, momentum=momentum, scale=scale, decay=decay, keep_diff=keep_diff,
            )  # fmt: skip


def _accelerated(decayed: bool, keep_diff: bool) -> list[Stage]:
    back = Stage("back", "history", MULTIPLY, "momentum")
    new = gradient("history", decayed, Then(ADD, "back"))
    update = Then(SUBTRACT, "back")
    if keep_diff:
        ahead = Stage("diff", "history", MULTIPLY, "lead", (update,))
        return [back, new, ahead, Stage("data", "data", SUBTRACT, "diff")]
    taken = update, Then(MULTIPLY, "minus one"), Plus(1.0)
    return [back, new, Stage("data", "history", MULTIPLY, "lead", taken)]
