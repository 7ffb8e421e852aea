"""Im2col: the windows of an image side by side, as a convolution sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.sliding import SlidingLayer


@register_layer("Im2col")
class Im2colLayer(SlidingLayer):
    """y[n, (c, place)] = for each window, the pixel of x[n, c] at that place of it; 0 in padding.

    bottom[0]: (N, C, *spatial)   top[0]: (N, C * kernel places, *out), places in row order,
    out = (size + 2 pad - (dilation (kernel - 1) + 1)) / stride + 1 along each spatial axis, the
    quotient rounded towards 0: a single window that lacks less than a stride of pixels counts, and
    sees 0 there
    convolution_param: axis (1): the channels' axis, those after it are spatial; kernel_size, stride
    (1), pad (0), dilation (1): one number, or one per spatial axis; kernel_h (none), kernel_w
    (none), stride_h (none), stride_w (none), pad_h (0), pad_w (0): in place of the above, for two
    axes; the others: of no effect

    Raises: NetError where a size is missing or 0; ShapeError where there is no spatial axis, or the
    kernel does not fit.
    Source: Caffe's layer catalogue, Im2col.

    Example: x (2, 3, 8, 8) -> y (2, 27, 6, 6)
        layer { name: "y" type: "Im2col" bottom: "x" top: "y" convolution_param { kernel_size: 3 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        if self.axis == self.num_axes - 1:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                f"at least 1 spatial axis after axis {self.axis}, that of the channels",
                f"shape {bottom[0].shape}",
                "Change convolution_param.axis, or reshape the blob.",
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        shape = bottom[0].shape
        geometry = self.sliding(self.as_samples(shape), num_output=1)
        self.refuse_small_images(bottom, geometry)
        rows = self.channels * math.prod(self.kernel)
        top[0].reshape((*shape[: self.axis], rows, *geometry.out_spatial))
        self.op = self.ops.im2col(geometry)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, out=bottom[0].diff)
