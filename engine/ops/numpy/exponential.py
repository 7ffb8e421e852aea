"""Elementwise functions made of exponentials and logarithms, on numpy: the reference."""

from __future__ import annotations

import math

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.activation import sigmoid
from caffepy.engine.ops.numpy.arrays import Kept, ScratchOp, chunks, source_and_target


class Elu(ScratchOp):
    """max(x, 0) + alpha (exp(min(x, 0)) - 1)."""

    def __init__(self, ops: Ops, alpha: float) -> None:
        super().__init__(ops)
        self.alpha = ops.dtype.type(alpha)
        self._kept = Kept()

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        source, target = source_and_target(x, out)
        for part, result in chunks(source, target):
            below = self.take("below", part.shape)
            np.clip(part, -np.inf, 0, out=below)
            np.expm1(below, out=below)
            below *= self.alpha
            np.clip(part, 0, np.inf, out=result)
            np.add(result, below, out=result)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy above 0 and dy alpha exp(x) from 0 down; may be dy. x may be what
        forward wrote over it."""
        source, target = source_and_target(dy, out)
        for part, original, result in chunks(source, self._kept.read(x), target):
            slope = self.take("below", part.shape)
            np.clip(original, -np.inf, 0, out=slope)
            np.exp(slope, out=slope)
            if self.alpha != 1:
                slope *= np.where(original > 0, self.ops.dtype.type(1), self.alpha)
            np.multiply(part, slope, out=result)


class Bnll(ScratchOp):
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which cannot overflow."""

    def __init__(self, ops: Ops) -> None:
        super().__init__(ops)
        self._kept = Kept()

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        source, target = source_and_target(x, out)
        for part, result in chunks(source, target):
            small = self.take("small", part.shape)
            np.abs(part, out=small)
            np.negative(small, out=small)
            np.exp(small, out=small)
            np.log1p(small, out=small)
            np.clip(part, 0, np.inf, out=result)
            np.add(result, small, out=result)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy / (1 + exp(-x)); may be dy. x may be what forward wrote over
        it."""
        source, target = source_and_target(dy, out)
        for part, original, result in chunks(source, self._kept.read(x), target):
            slope = self.take("small", part.shape)
            sigmoid(original, slope)
            np.multiply(part, slope, out=result)


class Swish(ScratchOp):
    """x / (1 + exp(-beta x))."""

    def __init__(self, ops: Ops, beta: float) -> None:
        super().__init__(ops)
        self.beta = ops.dtype.type(beta)
        self._kept = Kept()

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        source, target = source_and_target(x, out)
        for part, result in chunks(source, target):
            np.multiply(part, self._gate(part), out=result)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy s (1 + beta x (1 - s)) with s = 1 / (1 + exp(-beta x)); may be dy.
        x may be what forward wrote over it."""
        source, target = source_and_target(dy, out)
        for part, original, result in chunks(source, self._kept.read(x), target):
            gate = self._gate(original)
            slope = self.take("slope", gate.shape)
            np.multiply(original, gate, out=slope)
            np.subtract(original, slope, out=slope)
            if self.beta != 1:
                slope *= self.beta
            slope += 1
            slope *= gate
            np.multiply(part, slope, out=result)

    def _gate(self, x: np.ndarray) -> np.ndarray:
        """1 / (1 + exp(-beta x)), in scratch."""
        gate = self.take("gate", x.shape)
        if self.beta == 1:
            sigmoid(x, gate)
        else:
            np.multiply(x, self.beta, out=gate)
            sigmoid(gate, gate)
        return gate


class Mish(ScratchOp):
    """x tanh(log(1 + exp(x))). With e = exp(x) and n = e (e + 2) that is x n / (n + 2), whose
    quotient is 1 from FLAT on, so that nothing overflows."""

    FLAT = 20.0  # for float64 too

    def __init__(self, ops: Ops) -> None:
        super().__init__(ops)
        self._kept = Kept()

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        source, target = source_and_target(x, out)
        for part, result in chunks(source, target):
            _, _, n, whole = self._parts(part)
            n /= whole
            np.multiply(part, n, out=result)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy (n + 4 x e (1 + e) / (n + 2)) / (n + 2); may be dy. x may be what
        forward wrote over it."""
        source, target = source_and_target(dy, out)
        for part, original, result in chunks(source, self._kept.read(x), target):
            argument, e, n, whole = self._parts(original)
            argument *= e
            argument *= 4
            e += 1
            argument *= e
            argument /= whole
            argument += n
            argument /= whole
            np.multiply(part, argument, out=result)

    def _parts(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        """x, but not above FLAT, e, n and n + 2, in scratch."""
        argument, e, n, whole = (self.take(name, x.shape) for name in ("x", "e", "n", "whole"))
        np.clip(x, -np.inf, self.FLAT, out=argument)
        np.exp(argument, out=e)
        np.add(e, 2, out=n)
        n *= e
        np.add(n, 2, out=whole)
        return argument, e, n, whole


class Exp(ScratchOp):
    """base^(shift + scale x)."""

    def __init__(
        self, ops: Ops, base: float = math.e, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        """base: above 0."""
        super().__init__(ops)
        self.scale = ops.dtype.type(math.log(base) * scale)  # of the exponent of e
        self.shift = ops.dtype.type(math.log(base) * shift)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        source, target = source_and_target(x, out)
        np.multiply(source, self.scale, out=target)
        if self.shift:
            target += self.shift
        np.exp(target, out=target)

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, dy y scale log(base); may be dy. y: what forward wrote."""
        source, target = source_and_target(dy, out)
        for part, output, result in chunks(source, y.read(), target):
            slope = self.take("slope", part.shape)
            np.multiply(output, self.scale, out=slope)
            np.multiply(part, slope, out=result)


class Log(ScratchOp):
    """The logarithm of shift + scale x; -inf at 0, nan below."""

    def __init__(
        self, ops: Ops, base: float = math.e, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        """base: above 0, not 1."""
        super().__init__(ops)
        self.factor = ops.dtype.type(1 / math.log(base))  # of the natural logarithm
        self.scale, self.shift = ops.dtype.type(scale), ops.dtype.type(shift)
        self._kept = Kept()

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        source, target = source_and_target(x, out)
        self._argument(source, target)
        np.log(target, out=target)
        target *= self.factor

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy scale / ((shift + scale x) log(base)); may be dy. x may be what
        forward wrote over it."""
        source, target = source_and_target(dy, out)
        for part, original, result in chunks(source, self._kept.read(x), target):
            argument = self.take("argument", part.shape)
            self._argument(original, argument)
            np.divide(self.scale * self.factor, argument, out=argument)
            np.multiply(part, argument, out=result)

    def _argument(self, x: np.ndarray, out: np.ndarray) -> None:
        """Overwrites `out` with shift + scale x."""
        np.multiply(x, self.scale, out=out)
        if self.shift:
            out += self.shift
