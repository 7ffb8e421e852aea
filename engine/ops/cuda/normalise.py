"""Statistics of channels and what is made of them, on a GPU: what normalisations share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps

BLOCKS = 2048  # of threads that keep a GPU busy
PART = 4096  # elements that a block should have at least
COLUMNS = 1 << 18  # threads that keep a GPU busy ...
RUN = 16  # ... and elements that each should have at least
NARROW = 32  # elements of a channel side by side that are too few for a block


class NormaliseOp(CudaOp):
    """Base of ops that normalise the channels of (outer, channels, inner) elements.

    mean, inverse: (channels,) of the last forward pass: what is taken off, and what the rest is
    then multiplied by.  along_ones, along_normal: (channels,), the means of the backward pass.
    """

    family: ClassVar[str] = "normalise"

    def __init__(self, ops: DeviceOps, outer: int, channels: int, inner: int) -> None:
        super().__init__(ops)
        self.outer, self.channels, self.inner = outer, channels, inner
        self.number = outer * inner  # elements of a channel
        self._narrow = outer > 1 and inner < NARROW
        if self._narrow:
            enough = math.ceil(outer / RUN), COLUMNS // (channels * inner or 1)
        else:
            enough = math.ceil(self.number / PART), math.ceil(BLOCKS / (channels or 1))
        self._parts = max(1, min(enough))
        self._parts_of_channel = self._parts * (inner if self._narrow else 1)
        partial = 3 * channels * self._parts_of_channel
        self._partial = self.scratch(partial)
        self.mean, self.inverse = self.scratch(channels), self.scratch(channels)
        self.along_ones, self.along_normal = self.scratch(channels), self.scratch(channels)

    def find_statistics(
        self, kernel: str, x: Value, numbers: Sequence[float], sums: Sequence[Value] = ()
    ) -> None:
        """Mean and inverse from the moments of the channels of x, by a kernel that takes `numbers`
        and adds to `sums`."""
        self.launch_parts("moments", x)
        sizes = self.channels, self._parts_of_channel, self.inner, self.number
        values = x, self._partial, self.mean, self.inverse
        self.launch_rows(kernel, *sizes, *numbers, *values, *sums)

    def normalise(self, x: Value, out: Value, kept: Value | None = None) -> None:
        """out: (x - mean) inverse; may be x. kept: gets a copy of x."""
        sizes = x.count, self.channels, self.inner
        if kept is None:
            self.launch("normalise", *sizes, x, self.mean, self.inverse, out)
        else:
            self.launch("normalise_and_keep", *sizes, x, self.mean, self.inverse, kept, out)

    def normalise_backward(self, dy: Value, x: Value, out: Value, normal: bool) -> None:
        """out: gradient of x, (dy - mean(dy) - y mean(dy y)) inverse with y = (x - mean) inverse,
        or y = x where it is `normal` already; may be dy."""
        self.launch_parts("gradient_sums", normal, dy, x, self.mean, self.inverse)
        means = self.along_ones, self.along_normal
        self.launch_rows("gradient_means", *self.parts, *means)
        sizes = dy.count, self.channels, self.inner
        self.launch(
            "normalise_backward", *sizes, normal, dy, x, self.mean, self.inverse, *means, out
        )

    @property
    def parts(self) -> tuple[int, int, int, Value]:
        """What a kernel is told of sums over parts of the channels, which it adds up."""
        return self.channels, self._parts_of_channel, self.number, self._partial

    def launch_parts(self, kernel: str, *arguments: object, by: CudaOp | None = None) -> None:
        """Sums over parts of the channels. by: whose kernel it is, if not this op's."""
        op = by or self
        sizes = self._parts, self.outer, self.channels, self.inner
        if self._narrow:
            count = self._parts * self.channels * self.inner
            op.launch(f"{kernel}_of_columns", count, *sizes, *arguments, self._partial)
        else:
            count = self._parts * self.channels
            op.launch_rows(f"{kernel}_of_rows", count, *sizes, *arguments, self._partial)
