"""Sums over the channels of values, for the gradients of parameters."""

from __future__ import annotations

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry

COLUMNS = 16  # with `inner` less than this, columns are summed up, else runs
GROUP = 32  # columns that a block of threads sums up
BLOCKS = 1024  # of threads, a few for each multiprocessor
PARTS = 64  # at most: one thread adds them up
ELEMENTS = 4096  # of a run that are worth a block of threads
ROWS = 64  # the same of columns


class ChannelTotals(CudaOp):
    """Sums over the elements of each channel, with values seen as (outer, size, inner).

    Not an op of layers: ops call it inside their steps. What blocks of threads sum up, and so the
    order of the sums, depends on the geometry only.
    """

    family = "totals"

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        outer, size, inner = geometry.shape
        self._columns = inner < COLUMNS
        if self._columns:
            groups, each, least = -(-size * inner // GROUP), outer, ROWS
        else:
            groups, each, least = size, outer * inner, ELEMENTS
        parts = max(1, min(PARTS, BLOCKS // max(1, groups), each // least))
        self._length = -(-each // (4 * parts)) * 4  # whole vectors
        self._each, self._parts = each, parts
        self._blocks = groups * parts
        self._count = (size * inner if self._columns else size) * parts  # of one sum's parts
        self._sums = self.scratch(2 * self._count)

    def take(self, terms: str, *values: Value | float) -> None:
        """Sums up: `sum` of dy, `dot` of dy and x, `sum_and_dot` both, `dot_below` of dy and
        min(x, 0), `rectified_sum`, of a slope, dy, y and out, of the gradient that dy becomes on
        its way through a ReLU with results y: out, which may be dy."""
        _, size, inner = self.geometry.shape
        sizes = self._each, self._parts, self._length
        arguments = *sizes, *values, self._sums
        if self._columns:
            self.launch_rows(f"{terms}_columns", self._blocks, size * inner, *arguments)
        else:
            self.launch_rows(f"{terms}_runs", self._blocks, size, inner, *arguments)

    def give(self, number: int = 0, *, out: Value | None = None, add: Value | None = None) -> None:
        """One of the sums that were taken last. out: is overwritten.  add: it is added to."""
        size = self.geometry.size
        sizes = number * self._count, self._count // max(1, size)
        if out is not None:
            self.launch("totals", size, *sizes, self._sums, out)
        if add is not None:
            self.launch("add_totals", size, *sizes, self._sums, add)
