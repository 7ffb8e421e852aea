"""Inner product on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.cuda.bias import CudaBias
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.cuda.port import Product
from caffepy.engine.ops.cuda.rectified import with_relu, with_relu_before
from caffepy.engine.ops.geometry import AxisGeometry, InnerProductGeometry


class CudaInnerProduct(Op):
    """y = x w^T + b (x w + b when transposed).

    x: (rows, inputs) elements in any shape.  w: geometry.weight_shape.  b: (outputs,) or None.
    """

    ops: DeviceOps

    def __init__(self, ops: DeviceOps, geometry: InnerProductGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._bias = CudaBias(ops, AxisGeometry(geometry.rows, geometry.outputs, 1))

    @step(reads="x w b", writes="out")
    def forward(self, x: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: (rows, outputs) elements."""
        self.rectified_forward(1.0, x, w, b, out=out)

    def merged(self, step: Step, after: Step) -> Step | None:
        """ReLU in place, where a kernel adds the bias."""
        return None if step.arguments.get("b") is None else with_relu(self, step, after)

    def rearranged(self, before: Sequence[Step], step: Step) -> tuple[int, Sequence[Step]] | None:
        """The gradient of the bias, with ReLU's backward pass."""
        return with_relu_before(self._bias, before, step)

    def rectified_forward(
        self, slope: float, x: Value, w: Value, b: Value | None, *, out: Value
    ) -> None:
        """`forward` and ReLU."""
        one = self.geometry
        product = Product(one.rows, one.outputs, one.inputs, transpose_b=not one.transpose)
        self.ops.multiply(product, x, w, out)
        if b is not None:
            self._bias.rectified_forward(slope, out, b, out=out)

    @step(reads="dy w", writes="out")
    def backward_data(self, dy: Value, w: Value, *, out: Value) -> None:
        """out: gradient of x."""
        one = self.geometry
        product = Product(one.rows, one.inputs, one.outputs, transpose_b=one.transpose)
        self.ops.multiply(product, dy, w, out)

    @step(reads="dy x", adds="add_w add_b")
    def backward_params(
        self, dy: Value, x: Value, *, add_w: Value | None = None, add_b: Value | None = None
    ) -> None:
        """Adds the gradients of the parameters."""
        if add_b is not None:
            self._bias.backward_bias(dy, add_b=add_b)
        if add_w is None:
            return
        one = self.geometry
        add = add_w.allocated  # else it is 0 so far, and is written
        m, n = one.weight_shape
        product = Product(m, n, one.rows, transpose_a=True, add=add)
        left, right = (x, dy) if one.transpose else (dy, x)
        self.ops.multiply(product, left, right, add_w)
