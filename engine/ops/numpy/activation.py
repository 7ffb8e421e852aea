"""Elementwise functions of one value on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.arrays import HostOps, Kept, ScratchOp, chunks, source_and_target


def sigmoid(x: np.ndarray, out: np.ndarray) -> None:
    """Overwrites `out`, which may be x, with 1 / (1 + exp(-x)), as (tanh(x / 2) + 1) / 2, which
    cannot overflow."""
    half = out.dtype.type(0.5)
    np.multiply(x, half, out=out)
    np.tanh(out, out=out)
    out *= half
    out += half


def leak(x: np.ndarray, slopes: np.ndarray, below: np.ndarray, out: np.ndarray) -> None:
    """Overwrites `out`, which may be x, with max(x, 0) + slopes min(x, 0); `below` is scratch like
    x."""
    if ((slopes > 0) & (slopes <= 1)).all():  # max(x, slopes x): half the passes over memory
        np.multiply(x, slopes, out=below)
        np.maximum(x, below, out=out)
        return
    np.minimum(x, 0, out=below)
    below *= slopes
    np.maximum(x, 0, out=out)
    out += below


def leak_slope(x: np.ndarray, slopes: np.ndarray, out: np.ndarray) -> None:
    """Overwrites `out` with 1 where x > 0, else slopes; several times faster than `where`."""
    positive = x > 0
    if ((slopes >= 0) & (slopes <= 1)).all():
        np.copyto(out, positive)
        np.maximum(out, slopes, out=out)
        return
    np.multiply(~positive, slopes, out=out)
    out += positive


class Relu(ScratchOp):
    """max(x, 0) + slope min(x, 0)."""

    def __init__(self, ops: HostOps, slope: float = 0.0) -> None:
        super().__init__(ops)
        self.slope = ops.dtype.type(slope)
        self._kept = Kept()

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        if self.slope < 0:  # then y does not tell the sign of x
            self._kept.keep(x, out)
        source, target = source_and_target(x, out)
        if self.slope == 0:
            np.clip(source, 0, np.inf, out=target)  # takes a third of the time of `maximum`
            return
        slope = np.asarray(self.slope)
        for part, result in chunks(source, target):
            leak(part, slope, self.take("below", part.shape), result)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x; may be dy. x may be what forward wrote over it."""
        source, target = source_and_target(dy, out)
        if self.slope == 0:
            np.multiply(source, x.read() > 0, out=target)
            return
        for part, original, result in chunks(source, self._kept.read(x), target):
            slope = self.take("below", part.shape)
            leak_slope(original, np.asarray(self.slope), slope)
            np.multiply(part, slope, out=result)


class Sigmoid(ScratchOp):
    """1 / (1 + exp(-x))."""

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        sigmoid(*source_and_target(x, out))

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, dy y (1 - y); may be dy. y: what forward wrote."""
        source, target = source_and_target(dy, out)
        for part, output, result in chunks(source, y.read(), target):
            slope = self.take("slope", part.shape)
            np.subtract(1, output, out=slope)
            slope *= output
            np.multiply(part, slope, out=result)


class TanH(ScratchOp):
    """The hyperbolic tangent."""

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        source, target = source_and_target(x, out)
        np.tanh(source, out=target)

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, dy (1 - y^2); may be dy. y: what forward wrote."""
        source, target = source_and_target(dy, out)
        for part, output, result in chunks(source, y.read(), target):
            slope = self.take("slope", part.shape)
            np.square(output, out=slope)
            np.subtract(1, slope, out=slope)
            np.multiply(part, slope, out=result)


class Power(ScratchOp):
    """(shift + scale x)^power. Where that is constant (power or scale 0) x is not looked at; a
    fractional power of a negative number is nan, a negative one of 0 inf."""

    def __init__(
        self, ops: Ops, power: float = 1.0, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        super().__init__(ops)
        self.power, self.scale, self.shift = power, scale, shift
        self._kept = Kept()

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        if self.power == 0 or self.scale == 0:
            out.write()[...] = 1.0 if self.power == 0 else self.shift**self.power
            return
        if self.power != 1:
            self._kept.keep(x, out)
        source, target = source_and_target(x, out)
        self._raise(source, self.power, target)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy power scale (shift + scale x)^(power - 1); may be dy."""
        if self.power == 0 or self.scale == 0:
            out.write()[...] = 0
            return
        source, target = source_and_target(dy, out)
        factor = self.power * self.scale
        if self.power == 1:
            np.multiply(source, self.ops.dtype.type(factor), out=target)
            return
        for part, original, result in chunks(source, self._kept.read(x), target):
            slope = self.take("slope", part.shape)
            self._raise(original, self.power - 1, slope)
            slope *= factor
            np.multiply(part, slope, out=result)

    def _raise(self, x: np.ndarray, power: float, out: np.ndarray) -> None:
        """Overwrites `out` with (shift + scale x)^power."""
        np.multiply(x, self.ops.dtype.type(self.scale), out=out)
        if self.shift:
            out += self.shift
        if power != 1:
            out **= power
