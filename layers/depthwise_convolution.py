"""DepthwiseConvolution: another name of Convolution."""

from __future__ import annotations

from caffepy.engine.core.registry import register_layer
from caffepy.engine.sliding import ConvolvingLayer


@register_layer("DepthwiseConvolution")
class DepthwiseConvolutionLayer(ConvolvingLayer):
    """A Convolution, field by field. It is depthwise where the prototxt says `group: C`; without,
    each output takes all channels.

    bottom[i]: (N, C, *spatial), all of one shape   top[i]: (N, num_output, *out), as of Convolution
    blobs[0]: (num_output, C / group, *kernel)   blobs[1]: (num_output,)
    convolution_param: see Convolution

    Raises: NetError where a size is missing or 0; ShapeError where channels do not divide into
    groups or the kernel does not fit.
    Source: the fork yonghenglh6/DepthwiseConvolution, whose layer is Convolution on the CPU.

    Example: x (2, 4, 8, 8) -> y (2, 4, 8, 8)
        layer { name: "y" type: "DepthwiseConvolution" bottom: "x" top: "y"
          convolution_param { num_output: 4 group: 4 kernel_size: 3 pad: 1 } }
    """
