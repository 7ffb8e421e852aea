"""Vectors divided by their length, on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.cuda.softmax import PositionOp
from caffepy.engine.ops.geometry import AxisGeometry


class CudaUnitLength(PositionOp):
    """y = x / length, along one axis: the root of sum(x^2) + eps, or sum(|x|) + eps where
    `absolute`.

    x, y: geometry.shape elements.  length: (outer, inner) elements.
    """

    family = "unit_length"

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry, eps: float, absolute: bool) -> None:
        super().__init__(ops, geometry)
        self.eps = eps
        self.absolute = absolute

    @step(reads="x", writes="out out_length")
    def forward(self, x: Value, *, out: Value, out_length: Value) -> None:
        """out: y.  out_length: the lengths."""
        self.launch_positions("unit_length", self.absolute, self.eps, x, out, out_length)

    @step(reads="dy y length d_length", writes="out")
    def backward(
        self, dy: Value, y: Value, length: Value, d_length: Value | None, *, out: Value
    ) -> None:
        """out: gradient of x, (dy - s sum(dy y)) / length + s d_length with s = y, or its sign
        where `absolute`; may be dy.  d_length: the gradient of the lengths, None where it is
        0."""
        given = d_length is not None, length if d_length is None else d_length
        self.launch_positions("unit_length_backward", self.absolute, dy, y, length, *given, out)
