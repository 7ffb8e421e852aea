"""The largest elements of values on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry


class ArgMax(Op):
    """The top_k largest elements of x along the middle axis of (outer, size, inner), largest first,
    of equal ones that with the higher place first; nan counts as largest."""

    def __init__(
        self, ops: Ops, geometry: AxisGeometry, top_k: int, places: bool, values: bool
    ) -> None:
        """places, values: which of them is wanted; the places first where it is both."""
        super().__init__(ops)
        self.geometry = geometry
        self.top_k = top_k
        self.places, self.values = places, values

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: (outer, what is wanted, top_k, inner) elements."""
        outer, size, inner = self.geometry.shape
        source = x.read().reshape(self.geometry.shape)
        if self.top_k == 1:
            order = size - 1 - source[:, ::-1].argmax(axis=1)[:, None]
        else:
            order = source.argsort(axis=1, kind="stable")[:, : -self.top_k - 1 : -1]
        wanted = [order] if self.places else []
        if self.values:
            wanted.append(np.take_along_axis(source, order, axis=1))
        target = out.write().reshape(outer, len(wanted), self.top_k, inner)
        for index, part in enumerate(wanted):
            target[:, index] = part


def largest(numbers: np.ndarray, most: int) -> np.ndarray:
    """The places of the `most` largest numbers, of equal ones the first, in the order of places.
    numbers: (n,) without nan, n at least `most`."""
    if not most:
        return np.empty(0, np.intp)
    limit = np.partition(numbers, len(numbers) - most)[len(numbers) - most]
    chosen = numbers > limit
    level = np.flatnonzero(numbers == limit)[: most - np.count_nonzero(chosen)]
    chosen[level] = True
    return np.flatnonzero(chosen)
