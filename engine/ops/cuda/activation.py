"""Elementwise functions of one value on a GPU."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps, KeptOnDevice


class CudaRelu(CudaOp):
    """max(x, 0) + slope min(x, 0)."""

    family = "activation"

    def __init__(self, ops: DeviceOps, slope: float = 0.0) -> None:
        super().__init__(ops)
        self.slope = slope
        self._kept = KeptOnDevice(ops)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        if self.slope < 0:  # then y does not tell the sign of x
            self._kept.keep(x, out)
        self.launch("relu_forward", x.count, self.slope, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x; may be dy. x may be what forward wrote over it."""
        self.launch("relu_backward", x.count, self.slope, dy, self._kept.of(x), out)


class CudaSigmoid(CudaOp):
    """1 / (1 + exp(-x))."""

    family = "activation"

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self.launch("sigmoid_forward", x.count, x, out)

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, dy y (1 - y); may be dy. y: what forward wrote."""
        self.launch("sigmoid_backward", y.count, dy, y, out)


class CudaTanH(CudaOp):
    """The hyperbolic tangent."""

    family = "activation"

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self.launch("tanh_forward", x.count, x, out)

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, dy (1 - y^2); may be dy. y: what forward wrote."""
        self.launch("tanh_backward", y.count, dy, y, out)


class CudaPower(CudaOp):
    """(shift + scale x)^power. Where that is constant (power or scale 0) x is not looked at; a
    fractional power of a negative number is nan, a negative one of 0 inf."""

    family = "activation"

    def __init__(
        self, ops: DeviceOps, power: float = 1.0, scale: float = 1.0, shift: float = 0.0
    ) -> None:
        super().__init__(ops)
        self.power, self.scale, self.shift = power, scale, shift
        self._kept = KeptOnDevice(ops)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        if self.power == 0 or self.scale == 0:
            constant = np.float64(self.shift) ** self.power
            self.launch("fill", out.count, constant, out)
            return
        if self.power != 1:
            self._kept.keep(x, out)
        self.launch("power_forward", x.count, self.power, self.scale, self.shift, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy power scale (shift + scale x)^(power - 1); may be dy."""
        if self.power == 0 or self.scale == 0:
            self.launch("fill", out.count, 0.0, out)
            return
        numbers = self.power, self.scale, self.shift
        self.launch("power_backward", x.count, *numbers, dy, self._kept.of(x), out)
