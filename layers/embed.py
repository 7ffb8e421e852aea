"""Embed: looks up a learnable vector for each number, such as that of a word."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer


@register_layer("Embed")
class EmbedLayer(Layer):
    """y[..., :] = W[x] + b: an InnerProduct of one-hot vectors, given as the places of their ones.

    bottom[0]: any shape, numbers 0 to input_dim-1, cut to integers
    top[0]: the bottom's axes, then num_output
    blobs[0]: W, (input_dim, num_output)   blobs[1]: b, (num_output,)
    embed_param: num_output; input_dim; bias_term (true); weight_filler (constant 0); bias_filler
    (constant 0)

    Raises: NetError where num_output or input_dim is 0, or the numbers are to get a gradient;
    LabelError at a number outside 0 to input_dim-1.
    Source: Caffe's layer catalogue, Embed.
    Differs: Caffe reads beyond its memory at a number that has no row.

    Example: word (5, 2) -> y (5, 2, 16)
        layer { name: "y" type: "Embed" bottom: "word" top: "y"
          embed_param { num_output: 16 input_dim: 1000 weight_filler { type: "xavier" } } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.embed_param
        for name in ("num_output", "input_dim"):
            if getattr(param, name) == 0:
                self.error(f"embed_param.{name}: expected at least 1, got 0. Set it.")
        self.add_parameter((param.input_dim, param.num_output), param.weight_filler)
        if param.bias_term:
            self.add_parameter((param.num_output,), param.bias_filler)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        param = self.param.embed_param
        top[0].reshape((*bottom[0].shape, param.num_output))
        self.op = self.ops.embed(param.input_dim, param.num_output, bottom[0].count, self.where)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        bias = self.blobs[1].data if len(self.blobs) > 1 else None
        self.op.forward(bottom[0].data, self.blobs[0].data, bias, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward(propagate_down, "numbers that choose rows have no gradient")
        add_w, add_b = self.learning_diff(0), self.learning_diff(1)
        if add_w is not None or add_b is not None:
            self.op.backward_params(top[0].diff, bottom[0].data, add_w=add_w, add_b=add_b)

    def allow_force_backward(self, bottom_index: int) -> bool:
        """Never: the bottom holds no quantities."""
        return False
