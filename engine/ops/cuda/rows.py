"""Rows of values chosen by numbers in other values, on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.labels import DeviceLabels
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.totals import ChannelTotals
from caffepy.engine.ops.geometry import AxisGeometry

# Rows of the target times places up to which looking for the places of each row costs no more than
# atomic additions.
FEW_LOOKS = 1 << 24


class RowOp(CudaOp):
    """Base of ops that take rows of x by `count` places, which are cut to integers.

    The gradient of x is added up in one order where the backend is deterministic, or rows and
    places are few; else by atomic additions, whose order is not determined.
    """

    family = "rows"

    def __init__(self, ops: DeviceOps, rows: int, count: int, where: str, remedy: str) -> None:
        """rows: of x.  where: the layer, for messages.  remedy: for a place that is no row."""
        super().__init__(ops)
        self.rows, self.count = rows, count
        self._places = DeviceLabels(ops, AxisGeometry(1, rows, count), None, where, "index", remedy)
        self._ordered = ops.deterministic or rows * count <= FEW_LOOKS

    def take(self, x: Value, places: Value, b: Value | None, out: Value) -> None:
        """out: x[places] + b."""
        size = out.count // (self.count or 1)
        given = out.count, size, self.rows, *self._places.check(places), x
        if b is None:
            self.launch("take_rows", *given, out)
        else:
            self.launch("take_rows_and_add", *given, b, out)

    def add(self, dy: Value, places: Value, add_x: Value) -> None:
        """add_x[places[i]] += dy[i] for all i."""
        size = dy.count // (self.count or 1)
        given = *self._places.check(places), dy, add_x
        if self._ordered:
            self.launch_rows("add_rows_in_order", self.rows, size, self.count, *given)
        else:
            self.launch("add_rows", dy.count, size, self.rows, *given)


class CudaTakeRows(RowOp):
    """y[i] = x[places[i]], rows along axis 0. Places are cut to integers."""

    def __init__(self, ops: DeviceOps, rows: int, count: int, where: str) -> None:
        """rows: of x.  count: of places.  where: the layer, for messages."""
        remedy = "Correct the numbers, or give the layer as many samples as they name."
        super().__init__(ops, rows, count, where, remedy)

    @step(reads="x places", writes="out")
    def forward(self, x: Value, places: Value, *, out: Value) -> None:
        """out: y. Raises: LabelError where a place is no row of x."""
        self.take(x, places, None, out)

    @step(reads="dy places", writes="out")
    def backward(self, dy: Value, places: Value, *, out: Value) -> None:
        """out: gradient of x: each row the sum of those of dy that it went to."""
        self.ops.runtime.clear(out.write(self.ops.layout))
        self.add(dy, places, out)


class CudaEmbed(RowOp):
    """y[i] = w[places[i]] + b. Places are cut to integers.

    places: (count,) elements.  w: (rows, size).  b: (size,) or None.  y: (count, size) elements.
    """

    def __init__(self, ops: DeviceOps, rows: int, size: int, count: int, where: str) -> None:
        """where: the layer, for messages."""
        remedy = "Correct the data, or set embed_param.input_dim to the largest number plus 1."
        super().__init__(ops, rows, count, where, remedy)
        self._totals = ChannelTotals(ops, AxisGeometry(count, size, 1))

    @step(reads="places w b", writes="out")
    def forward(self, places: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: y. Raises: LabelError where a place is no row of w."""
        self.take(w, places, b, out)

    @step(reads="dy places", adds="add_w add_b")
    def backward_params(
        self, dy: Value, places: Value, *, add_w: Value | None = None, add_b: Value | None = None
    ) -> None:
        """Adds the gradients of the parameters."""
        if add_w is not None:
            self.add(dy, places, add_w)
        if add_b is not None:
            self._totals.take("sum", dy)
            self._totals.give(add=add_b)
