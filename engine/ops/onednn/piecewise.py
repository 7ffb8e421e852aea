"""Chains of elementwise primitives over large arrays, piece by piece, so that what one of them
leaves is still in the caches when the next one reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from caffepy.engine.core.aligned import address, aligned_zeros
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Primitive, describe
from caffepy.engine.ops.onednn.execution import Execution
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.post_ops import PostOps

PIECE = 1 << 21  # bytes of each array; the larger, the fewer calls


@dataclass(frozen=True)
class Then:
    """Combines the result so far, as the first of two, with the array or number of a name."""

    algorithm: Algorithm
    name: str


@dataclass(frozen=True)
class Root:
    """The square root of the result so far."""


@dataclass(frozen=True)
class Plus:
    """Adds `factor` times what the target held."""

    factor: float


@dataclass(frozen=True)
class Stage:
    """target = first (algorithm) second, and on it what comes `after`, in order.

    All but the algorithm are names: of arrays, of numbers (not `first`), or of scratch, which is
    whatever is neither.
    """

    target: str
    first: str
    algorithm: Algorithm
    second: str
    after: tuple[Then | Root | Plus, ...] = ()

    @property
    def operands(self) -> list[str]:
        """What an execution is given, in this order."""
        others = [step.name for step in self.after if isinstance(step, Then)]
        return [self.first, self.second, self.target, *others]

    def described(
        self, count: int, numbers: Mapping[str, np.ndarray]
    ) -> tuple[Primitive, Sequence[int]]:
        """For arrays of `count` elements; and the places of the operands."""
        flat, one = Descriptor.plain((count,)), Descriptor.plain((1,))
        tensor = {name: one if name in numbers else flat for name in self.operands}
        operands = tensor[self.first], tensor[self.second], tensor[self.target]
        after = PostOps()
        for step in self.after:
            if isinstance(step, Then):
                after.combine(step.algorithm, tensor[step.name])
            elif isinstance(step, Root):
                after.root()
            else:
                after.add_target(step.factor)
        primitive = describe("binary", self.algorithm, *operands, attributes=after.attributes())
        return primitive, (Arg.SOURCE, Arg.SOURCE_1, Arg.TARGET, *after.places)


class Piecewise:
    """Stages that are run on arrays of equal size, all of them on one piece after the other.

    Primitives, and what they are bound to, are kept for the arrays of earlier calls, without the
    arrays.

    numbers: the names of what is of one element.
    """

    def __init__(self, ops: PrimitiveOps, stages: Sequence[Stage], numbers: Sequence[str]) -> None:
        self._ops = ops
        self._stages = stages
        self._numbers = {name: np.zeros(1, np.float32) for name in numbers}
        self._scratch: dict[str, np.ndarray] = {}
        self._bound: dict[tuple[int, ...], list[Execution]] = {}
        ops.scratchpad.users.add(self)

    def __call__(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, float]) -> None:
        """Runs all stages. arrays: by name, flat; the same names in each call."""
        for name, number in numbers.items():
            self._numbers[name][0] = number
        size = next(iter(arrays.values())).size
        places = (size, *map(address, arrays.values()))
        runs = self._bound.get(places)
        if runs is None:
            runs = self._bound[places] = self._bind(arrays, size)
        for run in runs:
            run.repeat()

    def release(self) -> None:
        """Forgets the arrays of earlier calls."""
        self._bound.clear()

    def _bind(self, arrays: Mapping[str, np.ndarray], size: int) -> list[Execution]:
        runs, described = [], dict[tuple[Stage, int], tuple[Primitive, Sequence[int]]]()
        step = PIECE // 4
        for start in range(0, size, step):
            count = min(step, size - start)
            for stage in self._stages:
                key = stage, count
                if key not in described:
                    described[key] = stage.described(count, self._numbers)
                primitive, places = described[key]
                run = Execution(primitive, self._ops.scratchpad, *places)
                run.bind([self._piece(name, arrays, start, count) for name in stage.operands])
                run.release()
                runs.append(run)
        return runs

    def _piece(
        self, name: str, arrays: Mapping[str, np.ndarray], start: int, count: int
    ) -> np.ndarray:
        if name in self._numbers:
            return self._numbers[name]
        if name in arrays:
            return arrays[name][start : start + count]
        if name not in self._scratch:
            self._scratch[name] = aligned_zeros(PIECE // 4)
        return self._scratch[name][:count]
