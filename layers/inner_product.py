"""InnerProduct: a fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import InnerProductGeometry


@register_layer("InnerProduct")
class InnerProductLayer(Layer):
    """y = x W^T + b, with the axes of x from `axis` on flattened.

    bottom[0]: (N, ..., K axes)   top[0]: (N, ..., num_output)
    blobs[0]: (num_output, K), or (K, num_output) when transposed   blobs[1]: (num_output,)
    inner_product_param: num_output; bias_term (true); weight_filler (constant 0); bias_filler
    (constant 0); axis (1): the first that is flattened, negative ones count from the end; transpose
    (false): keep W transposed

    Raises: ShapeError where num_output is 0 or the flattened size differs from the one at set-up.
    Source: Caffe's layer catalogue, InnerProduct.

    Example: pool5 (2, 8, 4, 4) -> fc6 (2, 10)
        layer { name: "fc6" type: "InnerProduct" bottom: "pool5" top: "fc6"
          inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.inner_product_param
        if param.num_output == 0:
            self.error("inner_product_param.num_output: expected at least 1, got 0. Set it.")
        geometry = self._geometry(bottom)
        self.inputs = geometry.inputs
        self.add_parameter(geometry.weight_shape, param.weight_filler)
        if param.bias_term:
            self.add_parameter((param.num_output,), param.bias_filler)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        geometry = self._geometry(bottom)
        axis = self._axis(bottom)
        if geometry.inputs != self.inputs:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                f"{self.inputs} inputs from axis {axis} on, as when the weights were made",
                f"{geometry.inputs} in shape {bottom[0].shape}",
                "Keep the input size of a fully connected layer fixed.",
            )
        top[0].reshape((*bottom[0].shape[:axis], geometry.outputs))
        self.op = self.ops.inner_product(geometry)
        self.multiply_adds = geometry.multiply_adds
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        bias = self.blobs[1].data if len(self.blobs) > 1 else None
        self.op.forward(bottom[0].data, self.blobs[0].data, bias, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if any(self.param_propagate_down):
            self.op.backward_params(
                top[0].diff,
                bottom[0].data,
                add_w=self.learning_diff(0),
                add_b=self.learning_diff(1),
            )
        if propagate_down[0]:
            self.op.backward_data(top[0].diff, self.blobs[0].data, out=bottom[0].diff)

    def _geometry(self, bottom: Blobs) -> InnerProductGeometry:
        param, shape, axis = self.param.inner_product_param, bottom[0].shape, self._axis(bottom)
        return InnerProductGeometry(
            rows=math.prod(shape[:axis]),
            inputs=math.prod(shape[axis:]),
            outputs=param.num_output,
            transpose=param.transpose,
        )

    def _axis(self, bottom: Blobs) -> int:
        """The first axis that is flattened; another one where the number of axes changes."""
        return self.canonical_axis(self.param.inner_product_param.axis, bottom[0])
