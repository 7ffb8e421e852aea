"""Softmax on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry

FEW_POSITIONS = 1024  # for which there are blocks of threads at once, and a thread's loop is long
MANY_POSITIONS = 1 << 15  # that keep a GPU busy with a thread for each
FEW_CLASSES = 32  # for which a block of threads has little to do


def by_rows(geometry: AxisGeometry) -> bool:
    """Whether a block of threads takes a position, and not a single thread."""
    positions = geometry.outer * geometry.inner
    if positions <= FEW_POSITIONS:
        return True
    side_by_side = geometry.inner == 1
    return geometry.size > FEW_CLASSES and (side_by_side or positions < MANY_POSITIONS)


class PositionOp(CudaOp):
    """Base of ops whose kernels take each position of (outer, size, inner) elements by itself, and
    are there twice: `..._rows`, by a block of threads, and `..._positions`, by a thread."""

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self.positions = geometry.outer * geometry.inner if geometry.size else 0
        self._by_rows = by_rows(geometry)

    def launch_positions(self, kernel: str, *arguments: object) -> None:
        """The kernel of that name that suits the geometry. arguments: behind count, size and
        inner."""
        sizes = self.positions, self.geometry.size, self.geometry.inner
        if self._by_rows:
            self.launch_rows(f"{kernel}_rows", *sizes, *arguments)
        else:
            self.launch(f"{kernel}_positions", *sizes, *arguments)


class CudaSoftmax(PositionOp):
    """y = exp(x) / sum(exp(x)), the sum along one axis."""

    family = "softmax"

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """x, out: geometry.shape elements; out may be x."""
        self.launch_positions("softmax", x, out)

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, (dy - sum(dy y)) y; may be dy."""
        self.launch_positions("softmax_backward", dy, y, out)
