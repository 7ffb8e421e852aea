"""Inner product on oneDNN."""

from __future__ import annotations

from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import InnerProductGeometry
from caffepy.engine.ops.onednn.binding import Descriptor, Pass, Primitive, describe
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.post_ops import PostOps
from caffepy.engine.ops.onednn.weighted import WeightedOp


class OneDnnInnerProduct(WeightedOp):
    """y = x w^T + b (x w + b when transposed).

    x: (rows, inputs) elements in any shape.  w: geometry.weight_shape.  b: (outputs,) or None.
    x and y are plain; the weights, always (outputs, inputs) to the library, lie as the primitive
    likes.
    """

    def __init__(self, ops: PrimitiveOps, geometry: InnerProductGeometry) -> None:
        super().__init__(ops, (geometry.outputs, geometry.inputs))
        self.geometry = geometry

    @classmethod
    def supports(cls, ops: Ops, geometry: InnerProductGeometry) -> bool:
        """Nothing empty."""
        return min(geometry.rows, geometry.inputs, geometry.outputs) > 0

    def plain_weights(self) -> Descriptor:
        strides = (1, self.geometry.outputs) if self.geometry.transpose else None
        return Descriptor.plain(self.weights, strides)

    def describe_forward(self, bias: bool, after: PostOps | None = None) -> Primitive:
        return describe(
            "inner_product_forward", Pass.FORWARD_TRAINING, *self._tensors(bias),
            attributes=None if after is None else after.attributes(),
        )  # fmt: skip

    def describe_data(self, forward: Primitive) -> Primitive:
        x, w, _, y = self._tensors(False)
        return describe("inner_product_backward_data", x, w, y, forward=forward)

    def describe_parameters(self, forward: Primitive, bias: bool) -> Primitive:
        return describe("inner_product_backward_weights", *self._tensors(bias), forward=forward)

    def _tensors(self, bias: bool) -> tuple[Descriptor, Descriptor, Descriptor | None, Descriptor]:
        """x, w, b and y."""
        rows, inputs, outputs = self.geometry.rows, self.geometry.inputs, self.geometry.outputs
        return (
            Descriptor.plain((rows, inputs)),
            Descriptor.any(self.weights),
            Descriptor.plain((outputs,)) if bias else None,
            Descriptor.plain((rows, outputs)),
        )
