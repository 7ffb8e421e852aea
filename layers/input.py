"""Input: blobs that the caller fills."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("Input")
class InputLayer(Layer):
    """Tops of given shapes whose data the caller sets before a forward pass.

    top[i]: input_param.shape[i], or input_param.shape[0] for all where only one is given
    input_param: shape (none): without any, the caller shapes the tops

    Raises: NetError where there are neither no, one, nor as many shapes as tops.
    Source: Caffe's layer catalogue, Input.

    Example: -> data (1, 3, 32, 32)
        layer { name: "data" type: "Input" top: "data"
          input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
    """

    bottoms = 0
    tops = (1, None)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        shapes = self.param.input_param.shape
        if len(shapes) not in (0, 1, len(top)):
            self.error(
                f"input_param.shape: expected none, one, or one per top ({len(top)}), got "
                f"{len(shapes)}. Give each top a shape."
            )
        for index, blob in enumerate(top if shapes else ()):
            blob.reshape(tuple(shapes[index if len(shapes) > 1 else 0].dim))

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        """Nothing to do: the data is the caller's."""

    def backward(self, top: Blobs, propagate_down: object, bottom: Blobs) -> None:
        """Nothing below."""
