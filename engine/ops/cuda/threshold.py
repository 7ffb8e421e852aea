"""Elementwise comparison with limits on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps, KeptOnDevice


class CudaThreshold(CudaOp):
    """1 where x is above the threshold, else 0."""

    family = "activation"

    def __init__(self, ops: DeviceOps, threshold: float) -> None:
        super().__init__(ops)
        self.threshold = threshold

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self.launch("threshold_forward", x.count, self.threshold, x, out)


class CudaClip(CudaOp):
    """x, but not below least nor above most; nan stays nan."""

    family = "activation"

    def __init__(self, ops: DeviceOps, least: float, most: float) -> None:
        super().__init__(ops)
        self.least, self.most = least, most
        self._kept = KeptOnDevice(ops)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self._kept.keep(x, out)
        self.launch("clip_forward", x.count, self.least, self.most, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, dy from least to most, both included, else 0; may be dy. x may be
        what forward wrote over it."""
        limits = self.least, self.most
        self.launch("clip_backward", x.count, *limits, dy, self._kept.of(x), out)


class CudaRelu6(CudaOp):
    """max(x, 0) + slope min(x, 0), but not above 6; nan stays nan. slope: not below 0."""

    family = "activation"

    def __init__(self, ops: DeviceOps, slope: float = 0.0) -> None:
        super().__init__(ops)
        self.slope = slope

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x; may be x."""
        self.launch("relu6_forward", x.count, self.slope, x, out)

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, dy between 0 and 6, dy slope from 0 down, and 0 at 6; may be dy. y:
        what forward wrote."""
        self.launch("relu6_backward", y.count, self.slope, dy, y, out)
