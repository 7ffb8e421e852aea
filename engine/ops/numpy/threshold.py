"""Elementwise comparison with limits on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.numpy.arrays import Kept, chunks, source_and_target


class Threshold(Op):
    """1 where x is above the threshold, else 0."""

    def __init__(self, ops: Ops, threshold: float) -> None:
        super().__init__(ops)
        self.threshold = ops.dtype.type(threshold)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        source, target = source_and_target(x, out)
        target[...] = source > self.threshold


class Clip(Op):
    """x, but not below least nor above most; nan stays nan."""

    def __init__(self, ops: Ops, least: float, most: float) -> None:
        super().__init__(ops)
        self.least, self.most = ops.dtype.type(least), ops.dtype.type(most)
        self._kept = Kept()

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        source, target = source_and_target(x, out)
        np.clip(source, self.least, self.most, out=target)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy from least to most, both included, else 0; may be dy. x may be
        what forward wrote over it."""
        source, target = source_and_target(dy, out)
        original = self._kept.read(x).reshape(source.shape)
        np.multiply(source, (original >= self.least) & (original <= self.most), out=target)


class Relu6(Op):
    """max(x, 0) + slope min(x, 0), but not above 6; nan stays nan. slope: not below 0."""

    def __init__(self, ops: Ops, slope: float = 0.0) -> None:
        super().__init__(ops)
        self.slope = ops.dtype.type(slope)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        source, target = source_and_target(x, out)
        for part, result in chunks(source, target):
            below = np.minimum(part, 0) * self.slope if self.slope else None
            np.clip(part, 0, 6, out=result)
            if below is not None:
                np.add(result, below, out=result)

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, dy between 0 and 6, dy slope from 0 down, and 0 at 6; may be dy. y:
        what forward wrote."""
        source, target = source_and_target(dy, out)
        for part, known, result in chunks(source, y.read(), target):
            factor: np.ndarray = (known > 0) & (known < 6)
            if self.slope:
                factor = factor + (known <= 0) * self.slope
            np.multiply(part, factor, out=result)
