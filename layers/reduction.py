"""Reduction: sums over all axes from one on."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.proto.caffe_pb2 import ReductionParameter


@register_layer("Reduction")
class ReductionLayer(Layer):
    """y = coeff times the sum of x (SUM), |x| (ASUM) or x^2 (SUMSQ), or the mean of x (MEAN), over
    the axes from `axis` on.

    bottom[0]: any shape with at least 1 axis   top[0]: the axes before `axis`, a scalar for axis 0
    reduction_param: operation (SUM): SUM, ASUM, SUMSQ or MEAN; axis (0): negative ones count from
    the end; coeff (1)

    The gradient of ASUM is 0 where x is 0.

    Raises: ShapeError where the axis does not exist; NetError for an operation that only a fork
    has.
    Source: Caffe's layer catalogue, Reduction.
    Differs: the mean of nothing is 0 (Caffe's is nan).

    Example: x (2, 3, 4) -> y (2)
        layer { name: "y" type: "Reduction" bottom: "x" top: "y"
          reduction_param { operation: MEAN axis: 1 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.reduction_param
        self.refuse_fork_fields(param)
        self.operation = ReductionParameter.ReductionOp.Name(param.operation)
        if self.operation not in ("SUM", "ASUM", "SUMSQ", "MEAN"):
            self.error(
                f"reduction_param.operation: expected SUM, ASUM, SUMSQ or MEAN, got "
                f"{self.operation}, a fork's. Use one of these."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        param, shape = self.param.reduction_param, bottom[0].shape
        axis = self.canonical_axis(param.axis, bottom[0], "reduction_param.axis")
        geometry = AxisGeometry.around(shape, axis, len(shape) - axis)
        top[0].reshape(shape[:axis])
        self.op = self.ops.reduction(geometry, self.operation, param.coeff)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, bottom[0].data, out=bottom[0].diff)
