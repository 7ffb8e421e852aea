"""Elementwise functions made of exponentials and logarithms, on a GPU."""

from __future__ import annotations

import math

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps, KeptOnDevice


class CudaElu(CudaOp):
    """max(x, 0) + alpha (exp(min(x, 0)) - 1)."""

    family = "exponential"

    def __init__(self, ops: DeviceOps, alpha: float) -> None:
        super().__init__(ops)
        self.alpha = alpha
        self._kept = KeptOnDevice(ops)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        self.launch("elu_forward", x.count, self.alpha, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy above 0 and dy alpha exp(x) from 0 down; may be dy. x may be what
        forward wrote over it."""
        self.launch("elu_backward", x.count, self.alpha, dy, self._kept.of(x), out)


class CudaBnll(CudaOp):
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which cannot overflow."""

    family = "exponential"

    def __init__(self, ops: DeviceOps) -> None:
        super().__init__(ops)
        self._kept = KeptOnDevice(ops)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        self.launch("bnll_forward", x.count, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy / (1 + exp(-x)); may be dy. x may be what forward wrote over
        it."""
        self.launch("bnll_backward", x.count, dy, self._kept.of(x), out)


class CudaSwish(CudaOp):
    """x / (1 + exp(-beta x))."""

    family = "exponential"

    def __init__(self, ops: DeviceOps, beta: float) -> None:
        super().__init__(ops)
        self.beta = beta
        self._kept = KeptOnDevice(ops)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        self.launch("swish_forward", x.count, self.beta, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy s (1 + beta x (1 - s)) with s = 1 / (1 + exp(-beta x)); may be dy.
        x may be what forward wrote over it."""
        self.launch("swish_backward", x.count, self.beta, dy, self._kept.of(x), out)


class CudaMish(CudaOp):
    """x tanh(log(1 + exp(x))). With e = exp(x) and n = e (e + 2) that is x n / (n + 2), whose
    quotient is 1 long before anything overflows."""

    family = "exponential"

    def __init__(self, ops: DeviceOps) -> None:
        super().__init__(ops)
        self._kept = KeptOnDevice(ops)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        self.launch("mish_forward", x.count, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy (n + 4 x e (1 + e) / (n + 2)) / (n + 2); may be dy. x may be what
        forward wrote over it."""
        self.launch("mish_backward", x.count, dy, self._kept.of(x), out)


class CudaExp(CudaOp):
    """base^(shift + scale x)."""

    family = "exponential"

    def __init__(
        self, ops: DeviceOps, base: float = math.e, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        """base: above 0."""
        super().__init__(ops)
        self.scale = math.log(base) * scale  # of the exponent of e
        self.shift = math.log(base) * shift

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self.launch("exp_forward", x.count, self.scale, self.shift, x, out)

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, dy y scale log(base); may be dy. y: what forward wrote."""
        self.launch("exp_backward", y.count, self.scale, dy, y, out)


class CudaLog(CudaOp):
    """The logarithm of shift + scale x; -inf at 0, nan below."""

    family = "exponential"

    def __init__(
        self, ops: DeviceOps, base: float = math.e, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        """base: above 0, not 1."""
        super().__init__(ops)
        self.factor = 1 / math.log(base)  # of the natural logarithm
        self.scale, self.shift = scale, shift
        self._kept = KeptOnDevice(ops)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        numbers = self.factor, self.scale, self.shift
        self.launch("log_forward", x.count, *numbers, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy scale / ((shift + scale x) log(base)); may be dy. x may be what
        forward wrote over it."""
        numbers = self.factor, self.scale, self.shift
        self.launch("log_backward", x.count, *numbers, dy, self._kept.of(x), out)
