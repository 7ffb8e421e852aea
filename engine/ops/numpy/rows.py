"""Rows of values chosen by numbers in other values, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.labels import LabelReader


def add_rows(target: np.ndarray, places: np.ndarray, rows: np.ndarray) -> None:
    """target[places[i]] += rows[i] for all i, places that repeat included: rows of one place are
    summed up in pairs, then pairs of pairs, and so on."""
    order = places.argsort(kind="stable")
    ordered = places[order]
    first = np.diff(ordered, prepend=-1) != 0
    if first.all():
        target[places] += rows
        return
    sums = rows[order]
    left = np.arange(len(order))  # the rows that are not in another's sum yet ...
    rank = left - np.maximum.accumulate(np.where(first, left, 0))  # ... counted within their place
    while rank.any():
        odd = np.flatnonzero(rank % 2)
        sums[left[odd - 1]] += sums[left[odd]]
        even = rank % 2 == 0
        left, rank = left[even], rank[even] // 2
    target[ordered[left]] += sums[left]


class TakeRows(Op):
    """y[i] = x[places[i]], rows along axis 0. Places are cut to integers."""

    def __init__(self, ops: Ops, rows: int, count: int, where: str) -> None:
        """rows: of x.  count: of places.  where: the layer, for messages."""
        super().__init__(ops)
        remedy = "Correct the numbers, or give the layer as many samples as they name."
        geometry = AxisGeometry(1, rows, count)
        self._reader = LabelReader(geometry, None, where, "index", remedy)

    @step(reads="x places", writes="out")
    def forward(self, x: Value, places: Value, *, out: Value) -> None:
        """out: y. Raises: LabelError where a place is no row of x."""
        out.write()[...] = x.read()[self._reader.read(places)[0][0]]

    @step(reads="dy places", writes="out")
    def backward(self, dy: Value, places: Value, *, out: Value) -> None:
        """out: gradient of x: each row the sum of those of dy that it went to."""
        target = out.write()
        target.fill(0)
        add_rows(target, self._reader.read(places)[0][0], dy.read())


class Embed(Op):
    """y[i] = w[places[i]] + b. Places are cut to integers.

    places: (count,) elements.  w: (rows, size).  b: (size,) or None.  y: (count, size) elements.
    """

    def __init__(self, ops: Ops, rows: int, size: int, count: int, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self.size = size
        remedy = "Correct the data, or set embed_param.input_dim to the largest number plus 1."
        geometry = AxisGeometry(1, rows, count)
        self._reader = LabelReader(geometry, None, where, "index", remedy)

    @step(reads="places w b", writes="out")
    def forward(self, places: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: y. Raises: LabelError where a place is no row of w."""
        rows = self._reader.read(places)[0][0]
        target = out.write().reshape(len(rows), self.size)
        target[...] = w.read()[rows]
        if b is not None:
            target += b.read()

    @step(reads="dy places", adds="add_w add_b")
    def backward_params(
        self, dy: Value, places: Value, *, add_w: Value | None = None, add_b: Value | None = None
    ) -> None:
        """Adds the gradients of the parameters."""
        rows = self._reader.read(places)[0][0]
        gradient = dy.read().reshape(len(rows), self.size)
        if add_w is not None:
            add_rows(add_w.modify(), rows, gradient)
        if add_b is not None:
            add_b.modify().reshape(-1)[:] += gradient.sum(axis=0)
