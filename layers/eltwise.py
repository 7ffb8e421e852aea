"""Eltwise: sum, product or maximum of blobs, element by element."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.proto.caffe_pb2 import EltwiseParameter


@register_layer("Eltwise")
class EltwiseLayer(Layer):
    """y = sum of c_i x_i, product of x_i, or maximum of x_i.

    bottom[i]: of one shape, at least two   top[0]: the same shape
    eltwise_param: operation (SUM): SUM, PROD or MAX; coeff (1): for SUM, one c_i per bottom;
    stable_prod_grad (true): gradients of PROD multiply the other bottoms, with false they divide
    the product by the bottom, which is faster for many bottoms and nan at 0

    Where the first two bottoms are equal and the maximum, the gradient goes to the second; a later
    bottom takes it only if it is larger.

    Raises: NetError where the number of coefficients does not fit, PROD has any, or the operation
    is a fork's; ShapeError where shapes differ.
    Source: Caffe's layer catalogue, Eltwise.

    Example: a (2, 3), b (2, 3) -> y (2, 3)
        layer { name: "y" type: "Eltwise" bottom: "a" bottom: "b" top: "y"
          eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
    """

    bottoms = (2, None)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.eltwise_param
        self.refuse_fork_fields(param, harmless=("engine",))
        self.operation = EltwiseParameter.EltwiseOp.Name(param.operation)
        if self.operation not in ("SUM", "PROD", "MAX"):
            self.error(
                f"eltwise_param.operation: expected SUM, PROD or MAX, got {self.operation}. Choose "
                "one of these."
            )
        if param.coeff and self.operation == "PROD":
            self.error(
                f"eltwise_param.coeff: expected none with PROD, got {len(param.coeff)}. Remove "
                "them, or scale the bottoms by a Power or Scale layer."
            )
        if param.coeff and len(param.coeff) != len(bottom):
            self.error(
                f"eltwise_param.coeff: expected none or one per bottom ({len(bottom)}), got "
                f"{len(param.coeff)}. Give each bottom its coefficient."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        for blob in bottom[1:]:
            if blob.shape != bottom[0].shape:
                self.shape_error(
                    f"bottom '{blob.name}'",
                    f"the shape {bottom[0].shape} of '{bottom[0].name}'",
                    str(blob.shape),
                    "Make the bottoms equal; strides and padding on the way to them must agree.",
                )
        top[0].reshape(bottom[0].shape)
        param = self.param.eltwise_param
        if self.operation == "SUM":
            self.op = self.ops.eltwise_sum(tuple(param.coeff) or (1.0,) * len(bottom))
        elif self.operation == "PROD":
            self.op = self.ops.eltwise_product(stable=param.stable_prod_grad)
        else:
            self.op = self.ops.eltwise_max()
        return True

    @property
    def gradient_reads(self) -> str:
        divides = self.operation == "PROD" and not self.param.eltwise_param.stable_prod_grad
        return "values" if divides else ""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward([blob.data for blob in bottom], out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if not any(propagate_down):
            return
        xs = [blob.data for blob in bottom]
        outs = [
            blob.diff if wanted else None
            for blob, wanted in zip(bottom, propagate_down, strict=True)
        ]
        if self.operation == "SUM":
            self.op.backward(top[0].diff, outs=outs)
        elif self.operation == "PROD":
            self.op.backward(top[0].diff, xs, top[0].data, outs=outs)
        else:
            self.op.backward(top[0].diff, xs, outs=outs)
