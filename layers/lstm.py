"""LSTM: long short-term memory over sequences."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.recurrent import RecurrentLayer


@register_layer("LSTM")
class LSTMLayer(RecurrentLayer):
    """Steps t = 0 to T-1 of c = f c_before + i g and h = o tanh(c), where (i, f, o, g) come, as in
    LSTMUnit, from W_x x[t] + b + W_static x_static + W_h (cont[t] h_before).

    bottom[0]: (T, N, ...) x   bottom[1]: (T, N) cont: 0 where a sequence begins, else 1
    bottom[2], optional: (N, ...) x_static, the same in all steps
    the last two bottoms, with expose_hidden: (1, N, D) h and c before step 0
    top[0]: (T, N, D) h of all steps   top[1], top[2], with expose_hidden: (1, N, D) h and c after
    the last step
    blobs: W_x (4 D, K), b (4 D,), W_static (4 D, K_static) where there is x_static, W_h (4 D, D);
    rows in the order i, f, o, g
    recurrent_param: num_output: D; weight_filler (constant 0); bias_filler (constant 0);
    expose_hidden (false): h and c among the bottoms and tops; debug_info (false): of no effect

    Without expose_hidden, h and c are kept from pass to pass and begin as 0; they are part of a
    snapshot. Gradients stop at the borders of a pass: exposed states get and give none.

    Raises: NetError where num_output is 0, the number of blobs does not fit, or cont is to get a
    gradient; ShapeError where the shapes do not fit.
    Source: Caffe's layer catalogue, LSTM; J. Donahue et al., "Long-term recurrent convolutional
    networks for visual recognition and description", 2014.
    Differs: T may change from pass to pass; a change of N sets h and c to 0.

    Example: x (5, 2, 8), cont (5, 2) -> h (5, 2, 16)
        layer { name: "h" type: "LSTM" bottom: "x" bottom: "cont" top: "h"
          recurrent_param {
            num_output: 16 weight_filler { type: "uniform" min: -0.1 max: 0.1 } } }
    """

    states = ("h", "c")
    gates = 4

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        shape = self.gates * self.size, self.size
        self.add_parameter(shape, self.param.recurrent_param.weight_filler)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.op = self.ops.lstm(*bottom[0].shape[:2], self.size)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.forward_inputs(bottom)
        out_h, out_c = self.states_after(top)
        self.op.forward(
            self.inputs,
            self.static_inputs if self.has_static else None,
            bottom[1].data,
            self.blobs[-1].data,
            *self.states_before(bottom),
            out=top[0].data,
            out_h=out_h,
            out_c=out_c,
        )

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward([False, propagate_down[1]], "cont has no gradient")
        self.op.backward(
            top[0].diff,
            bottom[1].data,
            self.blobs[-1].data,
            out=self.inputs_diff,
            out_static=self.static_diff if self.has_static else None,
            add_w=self.learning_diff(len(self.blobs) - 1),
        )
        self.backward_inputs(list(propagate_down), bottom)
