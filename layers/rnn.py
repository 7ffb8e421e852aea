"""RNN: a plain recurrent network over sequences."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import InnerProductGeometry
from caffepy.engine.recurrent import RecurrentLayer


@register_layer("RNN")
class RNNLayer(RecurrentLayer):
    """Steps t = 0 to T-1 of h = tanh(W_x x[t] + b + W_static x_static + W_h (cont[t] h_before)) and
    y[t] = tanh(W_y h + b_y).

    bottom[0]: (T, N, ...) x   bottom[1]: (T, N) cont: 0 where a sequence begins, else 1
    bottom[2], optional: (N, ...) x_static, the same in all steps
    the last bottom, with expose_hidden: (1, N, D) h before step 0
    top[0]: (T, N, D) y   top[1], with expose_hidden: (1, N, D) h after the last step
    blobs: W_x (D, K), b (D,), W_static (D, K_static) where there is x_static, W_h (D, D),
    W_y (D, D), b_y (D,)
    recurrent_param: num_output: D; weight_filler (constant 0); bias_filler (constant 0);
    expose_hidden (false): h among the bottoms and tops; debug_info (false): of no effect

    Without expose_hidden, h is kept from pass to pass and begins as 0; it is part of a snapshot.
    Gradients stop at the borders of a pass: an exposed state gets and gives none.

    Raises: NetError where num_output is 0, the number of blobs does not fit, or cont is to get a
    gradient; ShapeError where the shapes do not fit.
    Source: Caffe's layer catalogue, RNN.
    Differs: T may change from pass to pass; a change of N sets h to 0.

    Example: x (5, 2, 8), cont (5, 2) -> y (5, 2, 16)
        layer { name: "y" type: "RNN" bottom: "x" bottom: "cont" top: "y"
          recurrent_param {
            num_output: 16 weight_filler { type: "uniform" min: -0.1 max: 0.1 } } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        param = self.param.recurrent_param
        self.add_parameter((self.size, self.size), param.weight_filler)
        self.add_parameter((self.size, self.size), param.weight_filler)
        self.add_parameter((self.size,), param.bias_filler)
        self.hidden, self.hidden_diff, self.result, self.output_diff = (
            Value((), self.ops.dtype) for _ in range(4)
        )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        steps, samples = bottom[0].shape[:2]
        for value in (self.hidden, self.hidden_diff, self.result, self.output_diff):
            value.reshape((steps, samples, self.size))
        self.op = self.ops.rnn(steps, samples, self.size)
        geometry = InnerProductGeometry(steps * samples, self.size, self.size)
        self.output, self.squash = self.ops.inner_product(geometry), self.ops.tanh()
        self.multiply_adds = (self.multiply_adds or 0) + geometry.multiply_adds
        self.copy = self.ops.eltwise_sum((1.0,))
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.forward_inputs(bottom)
        recurrent, weights, bias = self.blobs[-3:]
        self.op.forward(
            self.inputs,
            self.static_inputs if self.has_static else None,
            bottom[1].data,
            recurrent.data,
            *self.states_before(bottom),
            out=self.hidden,
            out_h=self.states_after(top)[0],
        )
        self.output.forward(self.hidden, weights.data, bias.data, out=self.result)
        self.squash.forward(self.result, out=self.result)
        # The gradient needs y, which a later layer may change in place.
        self.copy.forward([self.result], out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward([False, propagate_down[1]], "cont has no gradient")
        last = len(self.blobs)
        self.squash.backward(top[0].diff, self.result, out=self.output_diff)
        add_w, add_b = self.learning_diff(last - 2), self.learning_diff(last - 1)
        if add_w is not None or add_b is not None:
            self.output.backward_params(self.output_diff, self.hidden, add_w=add_w, add_b=add_b)
        self.output.backward_data(self.output_diff, self.blobs[-2].data, out=self.hidden_diff)
        self.op.backward(
            self.hidden_diff,
            self.hidden,
            bottom[1].data,
            self.blobs[-3].data,
            out=self.inputs_diff,
            out_static=self.static_diff if self.has_static else None,
            add_w=self.learning_diff(last - 3),
        )
        self.backward_inputs(list(propagate_down), bottom)
