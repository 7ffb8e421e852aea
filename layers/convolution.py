"""Convolution: learnable filters slid over images, or over any number of spatial axes."""

from __future__ import annotations

from caffepy.engine.core.registry import register_layer
from caffepy.engine.sliding import ConvolvingLayer


@register_layer("Convolution")
class ConvolutionLayer(ConvolvingLayer):
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
