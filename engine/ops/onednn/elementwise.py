"""Elementwise functions of one value in the layout they find: on oneDNN where its results are
Caffe's, else on numpy.

The library's exponential makes inf of nan, its logarithm errs by 1e-6 beside 1, its softplus
becomes negative, its clipping loses nan, its gradient of Mish is nan for great numbers, and nan is
nothing to its gradients of ELU and of the absolute value: these are numpy's here.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from caffepy.engine.ops.numpy.absolute import Absolute
from caffepy.engine.ops.numpy.activation import Power, Relu
from caffepy.engine.ops.numpy.exponential import Bnll, Elu, Exp, Log, Mish, Swish
from caffepy.engine.ops.numpy.threshold import Clip, Relu6
from caffepy.engine.ops.onednn.binding import Algorithm
from caffepy.engine.ops.onednn.flat import Elementwise, FlatOfInput, FlatOfOutput
from caffepy.engine.ops.onednn.port import PrimitiveOps

QUICK = (-1, 0.5, 1, 2)  # powers that numpy does not compute by logarithms


class _FunctionOfOutput(FlatOfOutput):
    """Both passes by the library."""

    algorithm: ClassVar[Algorithm]

    def __init__(self, ops: PrimitiveOps) -> None:
        super().__init__(ops)
        self._function = Elementwise(ops, self.algorithm)

    def run(self, source: np.ndarray, target: np.ndarray) -> None:
        self._function(source, target)

    def run_gradient(self, given: np.ndarray, dy: np.ndarray, target: np.ndarray) -> None:
        self._function.gradient(given, dy, target)


class OneDnnTanH(_FunctionOfOutput):
    """The hyperbolic tangent."""

    algorithm = Algorithm.TANH


class OneDnnSigmoid(_FunctionOfOutput):
    """1 / (1 + exp(-x))."""

    algorithm = Algorithm.LOGISTIC
    zero_stays = False


class OneDnnSwish(FlatOfInput, Swish):
    """x / (1 + exp(-beta x))."""

    def __init__(self, ops: PrimitiveOps, beta: float) -> None:
        super().__init__(ops, beta)
        self._function = Elementwise(ops, Algorithm.SWISH, beta)

    def run(self, source: np.ndarray, target: np.ndarray) -> None:
        self._kept.keep(*self.show_pair(source, target))
        self._function(source, target)

    def run_gradient(self, given: np.ndarray, dy: np.ndarray, target: np.ndarray) -> None:
        self._function.gradient(self._kept.read(self.show("given", given)), dy, target)


class OneDnnElu(FlatOfInput, Elu):
    """max(x, 0) + alpha (exp(min(x, 0)) - 1), forward by the library."""

    reference = Elu

    def __init__(self, ops: PrimitiveOps, alpha: float) -> None:
        super().__init__(ops, alpha)
        self._function = Elementwise(ops, Algorithm.ELU, alpha)

    def run(self, source: np.ndarray, target: np.ndarray) -> None:
        self._kept.keep(*self.show_pair(source, target))
        self._function(source, target)


class OneDnnMish(FlatOfInput, Mish):
    """x tanh(log(1 + exp(x))), forward by the library."""

    reference = Mish

    def __init__(self, ops: PrimitiveOps) -> None:
        super().__init__(ops)
        self._function = Elementwise(ops, Algorithm.MISH)

    def run(self, source: np.ndarray, target: np.ndarray) -> None:
        self._kept.keep(*self.show_pair(source, target))
        self._function(source, target)


class OneDnnAbsolute(FlatOfInput, Absolute):
    """|x|; the gradient at 0 is 0. Forward by the library."""

    reference = Absolute

    def __init__(self, ops: PrimitiveOps) -> None:
        super().__init__(ops)
        self._function = Elementwise(ops, Algorithm.ABSOLUTE)

    def run(self, source: np.ndarray, target: np.ndarray) -> None:
        self._function(source, target)


class OneDnnPower(FlatOfInput, Power):
    """(shift + scale x)^power, whose powers the library computes."""

    reference = Power

    def __init__(
        self, ops: PrimitiveOps, power: float = 1.0, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        super().__init__(ops, power, scale, shift)
        self.zero_stays = power >= 1 and shift == 0 and scale != 0
        self._linear = Elementwise(ops, Algorithm.LINEAR, scale, shift)
        self._powers: dict[float, Elementwise] = {}

    def _raise(self, x: np.ndarray, power: float, out: np.ndarray) -> None:
        if power != self.power and power in QUICK:  # backward comes in chunks
            super()._raise(x, power, out)
            return
        if power < 0 and not self.shift:  # the library adds 0, which loses the sign of -0
            np.multiply(x, self.ops.dtype.type(self.scale), out=out)
        else:
            self._linear(x, out)
        if power != 1:
            if power not in self._powers:
                self._powers[power] = Elementwise(self.ops, Algorithm.POWER, 1.0, power)
            self._powers[power](out, out)


class FlatRelu(FlatOfInput, Relu):
    """max(x, 0) + slope min(x, 0)."""

    reference = Relu


class FlatBnll(FlatOfInput, Bnll):
    """log(1 + exp(x))."""

    reference = Bnll
    zero_stays = False


class FlatRelu6(FlatOfOutput, Relu6):
    """max(x, 0) + slope min(x, 0), but not above 6."""

    reference = Relu6


class FlatExp(FlatOfOutput, Exp):
    """base^(shift + scale x)."""

    reference = Exp
    zero_stays = False


class FlatLog(FlatOfInput, Log):
    """The logarithm of shift + scale x."""

    reference = Log
    zero_stays = False


class FlatClip(FlatOfInput, Clip):
    """x, but not below least nor above most."""

    reference = Clip

    def __init__(self, ops: PrimitiveOps, least: float, most: float) -> None:
        super().__init__(ops, least, most)
        self.zero_stays = least <= 0 <= most
