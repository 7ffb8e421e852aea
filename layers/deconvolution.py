"""Deconvolution: the transpose of a convolution, mostly to make images bigger."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.ops.geometry import AxisGeometry, ConvolutionGeometry
from caffepy.engine.sliding import KernelLayer


@register_layer("Deconvolution")
class DeconvolutionLayer(KernelLayer):
    """Each pixel x[n, c] adds x[n, c] W[c, o] to its window in y[n, o], for the o of c's group; and
    y[n, o] has b[o] added. The windows are those of a Convolution from y to x.

    bottom[i]: (N, C, *spatial), all of one shape   top[i]: (N, num_output, *out), where
    out = stride (size - 1) + dilation (kernel - 1) + 1 - 2 pad along each spatial axis
    blobs[0]: (C, num_output / group, *kernel)   blobs[1]: (num_output,)
    convolution_param: num_output: channels out; bias_term (true); group (1): in so many parts, each
    with its own channels; axis (1): the channels' axis, those before it are samples, those after it
    spatial; kernel_size, stride (1), pad (0), dilation (1): one number, or one per spatial axis;
    kernel_h (none), kernel_w (none), stride_h (none), stride_w (none), pad_h (0), pad_w (0): in
    place of the above, for two axes; weight_filler (constant 0): "bilinear" makes it enlarge
    images; bias_filler (constant 0); engine (DEFAULT), force_nd_im2col (false): of no effect

    Raises: NetError where a size is missing or 0; ShapeError where channels do not divide into
    groups or the padding leaves nothing.
    Source: Caffe's layer catalogue, Deconvolution; J. Long et al., "Fully convolutional networks
    for semantic segmentation", 2015.

    Example: score (1, 2, 8, 8) -> big (1, 2, 16, 16)
        layer { name: "big" type: "Deconvolution" bottom: "score" top: "big"
          convolution_param {
            num_output: 2 group: 2 kernel_size: 4 stride: 2 pad: 1 bias_term: false
            weight_filler { type: "bilinear" } } }
    """

    def geometry_of(self, shape: Shape) -> ConvolutionGeometry:
        count, channels, *spatial = self.as_samples(shape)
        sizes = zip(spatial, self.kernel, self.stride, self.pad, self.dilation, strict=True)
        out = [
            stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad
            for size, kernel, stride, pad, dilation in sizes
        ]
        return self.sliding((count, self.num_output, *out), channels, self.group)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.geometry = self.geometry_of(bottom[0].shape)
        shape = self.geometry.shape
        if min(shape[2:], default=1) < 1:
            self.shape_error(
                f"bottom '{bottom[0].name}' of shape {bottom[0].shape}",
                f"an output of at least 1 pixel along each axis after pad {self.pad} is taken off",
                str(shape[2:]),
                "Take less pad, a larger kernel, or bigger images.",
            )
        for blob in top:
            blob.reshape((*bottom[0].shape[: self.axis], *shape[1:]))
        self.op = self.ops.convolution(self.geometry)
        self.multiply_adds = len(bottom) * self.geometry.multiply_adds
        self.bias_op = self.ops.bias(AxisGeometry.around(shape, 1))
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        for source, target in zip(bottom, top, strict=True):
            x = self.seen(source.data, self.geometry.out_shape)
            y = self.seen(target.data, self.geometry.shape)
            self.op.backward_data(x, self.blobs[0].data, out=y)
            if self.bias is not None:
                self.bias_op.forward(y, self.bias, out=y)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        add_w, add_b = self.learning_diff(0), self.learning_diff(1)
        for source, target, wanted in zip(bottom, top, propagate_down, strict=True):
            gradient = self.seen(target.diff, self.geometry.shape)
            if add_w is not None:
                x = self.seen(source.data, self.geometry.out_shape)
                self.op.backward_params(x, gradient, add_w=add_w)
            if add_b is not None:
                self.bias_op.backward_bias(gradient, add_b=add_b)
            if wanted:
                out = self.seen(source.diff, self.geometry.out_shape)
                self.op.forward(gradient, self.blobs[0].data, None, out=out)
