"""LossWindow: the losses of the last iterations, read from the device only when somebody looks."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.record import Step, recorded
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops


class LossWindow:
    """The last `size` losses, each the mean over the forward passes of an iteration.

    They stay Values; `mean` and `last` read them.
    """

    def __init__(self, ops: Ops, size: int) -> None:
        self._slots = [Value((), ops.dtype) for _ in range(size)]
        self._parts = [0] * size  # forward passes in each slot
        self._begun = 0  # iterations since the window was cleared
        self._ops = ops
        self._sum = ops.sum()

    def clear(self) -> None:
        """Forgets everything."""
        self._begun = 0

    def begin(self) -> None:
        """Opens a new iteration; it takes the place of the oldest one once the window is full."""
        self._begun += 1
        self._parts[self._current] = 0

    def add(self, loss: Value) -> None:
        """Adds the scalar loss of one forward pass to the current iteration."""
        slot = self._slots[self._current]
        self._sum.forward([slot, loss] if self._parts[self._current] else [loss], out=slot)
        self._parts[self._current] += 1

    def adding(self, loss: Value) -> Sequence[Step]:
        """What `add` does, as steps that are the same in each iteration of one pass: none where
        that is another slot each time. `added` is to be called in its place."""
        if len(self._slots) > 1:
            return ()
        return recorded(
            self._ops,
            lambda: self._sum.forward([loss], out=self._slots[0]),
            "(loss)",
            deferred=True,
        )

    def added(self, loss: Value) -> None:
        """The steps of `adding` have run: adds what they do not."""
        if len(self._slots) > 1:
            self.add(loss)
        else:
            self._parts[self._current] += 1

    def last(self) -> float:
        """The loss of the current iteration."""
        return self._loss(self._current)

    def mean(self) -> float:
        """The mean loss of the iterations in the window."""
        losses = [self._loss(slot) for slot in self._filled()]
        return sum(losses) / len(losses)

    def state(self) -> list[tuple[float, int]]:
        """(sum, number of parts) of the iterations in the window, oldest first; without one that
        was interrupted before its first pass was over."""
        return [
            (float(self._slots[slot].read()), self._parts[slot])
            for slot in self._filled()
            if self._parts[slot]
        ]

    def restore(self, state: Sequence[tuple[float, int]]) -> None:
        """Takes back what `state` gave; of a longer window the newest."""
        self.clear()
        for total, parts in state[-len(self._slots) :]:
            self.begin()
            self._slots[self._current].write()[...] = total
            self._parts[self._current] = parts

    def _filled(self) -> list[int]:
        """The slots in use, oldest first."""
        kept = min(self._begun, len(self._slots))
        return [place % len(self._slots) for place in range(self._begun - kept, self._begun)]

    def _loss(self, slot: int) -> float:
        return float(self._slots[slot].read()) / self._parts[slot]

    @property
    def _current(self) -> int:
        return (self._begun - 1) % len(self._slots)
