"""Parameter: a learnable blob as a top."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("Parameter")
class ParameterLayer(Layer):
    """Its top is its learnable blob, data and diff.

    top[0]: parameter_param.shape   blobs[0]: the same memory
    parameter_param: shape (none): without, a scalar; blob_filler (constant 0): a field that stock
    Caffe does not have

    As in Caffe, the layer that uses the top overwrites the gradient: with iter_size, that of the
    last batch is the one that counts.

    Source: Caffe's layer catalogue, Parameter.

    Example: -> w (3, 4)
        layer { name: "w" type: "Parameter" top: "w"
          parameter_param {
            shape { dim: 3 dim: 4 } blob_filler { type: "gaussian" } } }
    """

    bottoms = 0

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.parameter_param
        blob = self.add_parameter(tuple(param.shape.dim), param.blob_filler)
        # The same Values, not aliases: what shares or moves the parameter later moves the top too.
        top[0].data, top[0].diff = blob.data, blob.diff

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing to do: the top is the parameter."""

    def backward(self, top: Blobs, propagate_down: object, bottom: Blobs) -> None:
        """Nothing to do: the diff of the top is that of the parameter."""
