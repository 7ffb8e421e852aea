"""The axes of values in another order, on oneDNN."""

from __future__ import annotations

import math

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import TransposeGeometry
from caffepy.engine.ops.onednn.binding import Arg, Descriptor, reorder
from caffepy.engine.ops.onednn.execution import Execution
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import describe_layout, tensor_layout

MOST_AXES = 12  # DNNL_MAX_NDIMS
ENOUGH = 1 << 16  # elements; numpy takes less time for fewer


class OneDnnTranspose(Op):
    """x with its axes in another order; x may have any shape of as many elements as geometry's.

    Where x has geometry.shape it is read in the layout in which it lies, and its gradient is
    written in that; the result is plain.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, geometry: TransposeGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        inverse = geometry.inverse
        steps = [math.prod(inverse.shape[axis + 1 :]) for axis in inverse.order]
        self._result = Descriptor.plain(geometry.shape, steps)  # the result along the axes of x
        self._layout: Layout = PLAIN  # of x in the last forward pass
        self._forward: dict[Layout, Execution] = {}
        self._backward: dict[Layout, Execution] = {}

    @classmethod
    def supports(cls, ops: Ops, geometry: TransposeGeometry) -> bool:
        """Enough elements, in no more axes than the library has."""
        return math.prod(geometry.shape) >= ENOUGH and len(geometry.shape) <= MOST_AXES

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: geometry.out_shape elements."""
        layout = tensor_layout(x) if x.shape == self.geometry.shape else PLAIN
        self._layout = layout
        run = self._forward.get(layout)
        if run is None:
            way = reorder(describe_layout(layout, self.geometry.shape), self._result)
            run = Execution(way, self.ops.scratchpad, Arg.SOURCE, Arg.TARGET)
            self._forward[layout] = run
        run(x.read(layout), out.write())

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x."""
        layout = self._layout
        run = self._backward.get(layout)
        if run is None:
            way = reorder(self._result, describe_layout(layout, self.geometry.shape))
            run = Execution(way, self.ops.scratchpad, Arg.SOURCE, Arg.TARGET)
            self._backward[layout] = run
        run(dy.read(), out.write(layout))
