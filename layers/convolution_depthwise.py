"""ConvolutionDepthwise: a filter of its own for each channel."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.sliding import ConvolvingLayer


@register_layer("ConvolutionDepthwise")
class ConvolutionDepthwiseLayer(ConvolvingLayer):
    """y[n, c] = b[c] + W[c] slid over x[n, c]: a Convolution whose num_output and group are the
    channels of the bottom.

    bottom[i]: (N, C, *spatial), all of one shape   top[i]: (N, C, *out), sizes as of Convolution
    blobs[0]: (C, 1, *kernel)   blobs[1]: (C,)
    convolution_param: num_output (none), group (1): of no effect; the others: as of Convolution

    Raises: NetError where a size is missing or 0; ShapeError where there are no channels or the
    kernel does not fit.
    Source: A. Howard et al., "MobileNets", 2017; the fork farmingyard/caffe-mobilenet.
    Differs: stride is 1 and pad 0 where none is given, which the fork leaves undefined.

    Example: x (2, 4, 8, 8) -> y (2, 4, 8, 8)
        layer { name: "y" type: "ConvolutionDepthwise" bottom: "x" top: "y"
          convolution_param { kernel_size: 3 pad: 1 } }
    """

    def outputs_and_groups(self, bottom: Blobs) -> tuple[int, int]:
        if self.channels == 0:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                "channels",
                f"shape {bottom[0].shape}",
                "Give it some.",
            )
        return self.channels, self.channels
