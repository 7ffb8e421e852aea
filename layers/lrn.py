"""LRN: local response normalisation."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import LrnGeometry
from caffepy.proto.caffe_pb2 import LRNParameter


@register_layer("LRN")
class LRNLayer(NeuronLayer):
    """y = x / (k + alpha / n * sum of x^2 over the n elements around x)^beta.

    ACROSS_CHANNELS: the n = local_size channels around, at the same pixel. WITHIN_CHANNEL: the
    n = local_size^2 pixels around in the same plane, and k is 1 whatever is given. Beyond the edges
    there are zeros.

    bottom[0]: (N, C, H, W)   top[0]: the same shape
    lrn_param: local_size (5): odd; alpha (1); beta (0.75); k (1); norm_region (ACROSS_CHANNELS): or
    WITHIN_CHANNEL; engine (DEFAULT): of no effect

    Raises: NetError where local_size is even; ShapeError where bottom is not (N, C, H, W).
    Source: Caffe's layer catalogue, LRN; A. Krizhevsky et al., 2012.

    Example: x (2, 8, 6, 6) -> y (2, 8, 6, 6)
        layer { name: "y" type: "LRN" bottom: "x" top: "y"
          lrn_param { local_size: 5 alpha: 0.0001 } }
    """

    in_place_allowed = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        size = self.param.lrn_param.local_size
        if size % 2 == 0:
            self.error(f"local_size: expected an odd number, got {size}. Take {size + 1}.")

    def make_op(self, x: Blob) -> Any:
        param, shape = self.param.lrn_param, x.shape
        if len(shape) != 4:
            self.shape_error(
                f"bottom '{x.name}'",
                "4 axes (N, C, H, W)",
                f"shape {shape}",
                "Reshape the blob to 4 axes.",
            )
        within = param.norm_region == LRNParameter.WITHIN_CHANNEL
        geometry = LrnGeometry(
            shape, param.local_size, param.alpha, param.beta, 1.0 if within else param.k, within
        )
        return self.ops.lrn(geometry)
