"""Convolution: learnable filters slid over images, or over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.sliding import KernelLayer


@register_layer("Convolution")
class ConvolutionLayer(KernelLayer):
    """y[n, o] = b[o] + sum over channels c of o's group: W[o, c] slid over x[n, c].

    bottom[i]: (N, C, *spatial), all of one shape   top[i]: (N, num_output, *out), where
    out = (size + 2 pad - (dilation (kernel - 1) + 1)) / stride + 1 along each spatial axis, the
    quotient rounded towards 0: a single window that lacks less than a stride of pixels counts, and
    sees 0 there
    blobs[0]: (num_output, C / group, *kernel)   blobs[1]: (num_output,)
    convolution_param: num_output: channels out; bias_term (true); group (1): in so many parts, each
    with its own channels; axis (1): the channels' axis, those before it are samples, those after it
    spatial; kernel_size, stride (1), pad (0), dilation (1): one number, or one per spatial axis;
    kernel_h (none), kernel_w (none), stride_h (none), stride_w (none), pad_h (0), pad_w (0): in
    place of the above, for two axes; weight_filler (constant 0); bias_filler (constant 0); engine
    (DEFAULT), force_nd_im2col (false): of no effect

    Raises: NetError where a size is missing or 0; ShapeError where channels do not divide into
    groups or the kernel does not fit.
    Source: Caffe's layer catalogue, Convolution; F. Yu and V. Koltun, 2016 (dilation).

    Example: data (2, 3, 32, 32) -> conv1 (2, 16, 32, 32)
        layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
          convolution_param {
            num_output: 16 kernel_size: 5 pad: 2 weight_filler { type: "xavier" } } }
    """

    def geometry_of(self, shape: Shape) -> ConvolutionGeometry:
        param = self.param.convolution_param
        return self.sliding(self.as_samples(shape), param.num_output, param.group)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.geometry = self.geometry_of(bottom[0].shape)
        self.refuse_small_images(bottom, self.geometry)
        for blob in top:
            blob.reshape((*bottom[0].shape[: self.axis], *self.geometry.out_shape[1:]))
        self.op = self.ops.convolution(self.geometry)
        self.multiply_adds = len(bottom) * self.geometry.multiply_adds
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        geometry = self.geometry
        for source, target in zip(bottom, top, strict=True):
            x = self.seen(source.data, geometry.shape)
            y = self.seen(target.data, geometry.out_shape)
            self.op.forward(x, self.blobs[0].data, self.bias, out=y)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        geometry = self.geometry
        for source, target, wanted in zip(bottom, top, propagate_down, strict=True):
            gradient = self.seen(target.diff, geometry.out_shape)
            if any(self.param_propagate_down):
                self.op.backward_params(
                    gradient,
                    self.seen(source.data, geometry.shape),
                    add_w=self.learning_diff(0),
                    add_b=self.learning_diff(1),
                )
            if wanted:
                out = self.seen(source.diff, geometry.shape)
                self.op.backward_data(gradient, self.blobs[0].data, out=out)
