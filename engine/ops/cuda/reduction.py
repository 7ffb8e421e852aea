"""Sums along axes on a GPU."""

from __future__ import annotations

import math

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry

SUM, ABSOLUTE, SQUARE = range(3)  # what is summed up: of each element itself, |x| or x^2
KINDS = {"SUM": SUM, "MEAN": SUM, "ASUM": ABSOLUTE, "SUMSQ": SQUARE}

SHORT = 64  # elements of a row that are too few for a block of threads
BLOCKS, PART = 2048, 4096  # blocks that keep a GPU busy, and elements that each should have
THREADS, RUN = 1 << 18, 64  # the same of threads that work alone
MOST_PARTS = 256  # that such a thread adds up


class AxisSums:
    """Sums over the middle axis of (outer, size, inner), always in one order."""

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry) -> None:
        self._kernels = ops.kernels("reduction")
        self.geometry = geometry
        size, sums = geometry.size, geometry.outer * geometry.inner
        self._by_rows = geometry.inner == 1 and size >= SHORT
        if self._by_rows:
            enough = math.ceil(size / PART), math.ceil(BLOCKS / (sums or 1))
        else:
            enough = min(math.ceil(size / RUN), MOST_PARTS), THREADS // (sums or 1)
        self._parts = max(1, min(enough))
        self._partial = Value((sums * self._parts,), ops.dtype)

    def launch(self, x: Value, out: Value, kind: int = SUM, coeff: float = 1) -> None:
        """out: (outer, inner) elements, coeff times the sums."""
        size, parts = self.geometry.size, self._parts
        if parts == 1:
            self._launch(1, size, kind, coeff, x, out)
        else:
            self._launch(parts, size, kind, 1, x, self._partial)
            self._launch(1, parts, SUM, coeff, self._partial, out)

    def _launch(self, parts: int, size: int, *arguments: object) -> None:
        outer, inner = self.geometry.outer, self.geometry.inner
        if self._by_rows:
            self._kernels.launch_rows("sum_rows", outer * parts, parts, size, *arguments)
        else:
            count = outer * parts * inner
            self._kernels.launch("sum_columns", count, parts, size, inner, *arguments)


class CudaReduction(CudaOp):
    """coeff times SUM x, ASUM |x|, SUMSQ x^2 or the MEAN of x, over the second axis of
    (outer, size)."""

    family = "reduction"

    def __init__(
        self, ops: DeviceOps, geometry: AxisGeometry, operation: str, coeff: float
    ) -> None:
        """geometry: (outer, size, 1)."""
        super().__init__(ops)
        self.geometry = geometry
        self.kind = KINDS[operation]
        self.coeff = coeff / (geometry.size or 1) if operation == "MEAN" else coeff
        self._sums = AxisSums(ops, geometry)

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: (outer,) elements."""
        self._sums.launch(x, out, self.kind, self.coeff)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x: coeff dy, for ASUM times the sign of x, for SUMSQ times 2 x."""
        numbers = x.count, self.geometry.size, self.kind, self.coeff
        self.launch("reduction_backward", *numbers, dy, x, out)
