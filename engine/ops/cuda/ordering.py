"""The largest elements of values on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.cuda.softmax import PositionOp
from caffepy.engine.ops.geometry import AxisGeometry


class CudaArgMax(PositionOp):
    """The top_k largest elements of x along the middle axis of (outer, size, inner), largest first,
    of equal ones that with the higher place first; nan counts as largest. Each is looked for
    among all elements: slow where top_k is in the hundreds."""

    family = "ordering"

    def __init__(
        self, ops: DeviceOps, geometry: AxisGeometry, top_k: int, places: bool, values: bool
    ) -> None:
        """places, values: which of them is wanted; the places first where it is both."""
        super().__init__(ops, geometry)
        self.top_k = top_k
        self.places, self.values = places, values

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: (outer, what is wanted, top_k, inner) elements."""
        self.launch_positions("argmax", self.top_k, self.places, self.values, x, out)
