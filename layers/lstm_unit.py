"""LSTMUnit: one step of long short-term memory, without weights."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("LSTMUnit")
class LSTMUnitLayer(Layer):
    """c = f c_before + i g and h = o tanh(c), with i = sigmoid(x_i), f = cont sigmoid(x_f),
    o = sigmoid(x_o) and g = tanh(x_g).

    bottom[0]: (1, N, D) c_before   bottom[1]: (1, N, 4 D) x_i, x_f, x_o and x_g   bottom[2]: (1, N)
    cont, 0 where a sequence begins, else 1   top[0]: (1, N, D) c   top[1]: (1, N, D) h
    There are no fields.

    Raises: ShapeError where the shapes do not fit; NetError where cont is to get a gradient.
    Source: Caffe's layer catalogue, LSTM; S. Hochreiter and J. Schmidhuber, "Long short-term
    memory", 1997.

    Example: c_before (1, 2, 16), x (1, 2, 64), cont (1, 2) -> c (1, 2, 16), h (1, 2, 16)
        layer { name: "c" type: "LSTMUnit"
          bottom: "c_before" bottom: "x" bottom: "cont" top: "c" top: "h" }
    """

    bottoms = 3
    tops = 2

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        cell = bottom[0]
        if cell.num_axes != 3 or cell.shape[0] != 1:
            self.shape_error(
                f"bottom '{cell.name}'",
                "shape (1, N, D): 1 step, sequences, cells",
                f"shape {cell.shape}",
                "Slice one step off.",
            )
        _, samples, size = cell.shape
        for blob, expected in ((bottom[1], (1, samples, 4 * size)), (bottom[2], (1, samples))):
            if blob.shape != expected:
                self.shape_error(
                    f"bottom '{blob.name}'",
                    f"shape {expected} beside {cell.shape} of '{cell.name}'",
                    f"shape {blob.shape}",
                    "Reshape it, or change num_output of the layer below.",
                )
        for blob in top:
            blob.reshape(cell.shape)
        self.op = self.ops.lstm_unit(samples, size)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        values = [blob.data for blob in bottom]
        self.op.forward(*values, out_c=top[0].data, out_h=top[1].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward([False, False, propagate_down[2]], "cont has no gradient")
        out_c, out_x = (
            blob.diff if wanted else None
            for blob, wanted in zip(bottom[:2], propagate_down, strict=False)
        )
        if out_c is not None or out_x is not None:
            self.op.backward(top[0].diff, top[1].diff, bottom[0].data, out_c=out_c, out_x=out_x)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """All but cont."""
        return bottom_index != 2
