"""Watch: what kernels find wrong with their inputs, until the host looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Protocol

import numpy as np

from caffepy.engine.core.layout import Layout
from caffepy.engine.core.value import Value

Refusal = Callable[[int, float], NoReturn]  # given the place of an element, and the element


class Watching(Protocol):
    """What a Watch needs of its backend."""

    layout: Layout


class Watch:
    """A flag on the device: which value was found wrong first, and where.

    Kernels take `value` as `unsigned long long* add_watch` and call `report` of common.cuh; those
    that change parameters do nothing once it is set, so that they stay as they were. The host looks
    when it reads results anyway.

    value: three uint64: the number of who refuses (0: all is well), the place of the element, and
    the element as the bits of a double.
    """

    def __init__(self, ops: Watching) -> None:
        self._layout = ops.layout
        self._refusals: list[Refusal] = []
        self.value = Value((3,), np.uint64)

    def add(self, refuse: Refusal) -> int:
        """The number under which kernels report what `refuse` then raises an error about."""
        self._refusals.append(refuse)
        return len(self._refusals)

    def check(self) -> None:
        """Raises what was reported since the last look."""
        if not self.value.allocated:
            return
        number, place, bits = self.value.content()
        if number:
            # at once: a graph that is launched next does not ask whether it was cleared
            self._layout.clear(self.value.write(self._layout))
            self._refusals[int(number) - 1](int(place), float(bits.view(np.float64)))
