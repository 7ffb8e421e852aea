"""Dropout: sets random elements to 0 in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.neuron_layer import NeuronLayer
from caffepy.engine.core.registry import register_layer


@register_layer("Dropout")
class DropoutLayer(NeuronLayer):
    """In phase TRAIN each element is 0 with probability p, else x / (1 - p); in phase TEST y = x.

    bottom[0]: any shape   top[0]: the same shape, may be the bottom
    dropout_param: dropout_ratio (0.5): p, from 0 to below 1; scale_train (true): a fork's field,
    with false y is x where it is not 0 in phase TRAIN, and (1 - p) x in phase TEST

    Raises: NetError where p is outside [0, 1).
    Source: Caffe's layer catalogue, Dropout; N. Srivastava et al., 2014.

    Example: fc6 (8, 64) -> fc6 (8, 64)
        layer { name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6"
          dropout_param { dropout_ratio: 0.5 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.dropout_param
        self.refuse_fork_fields(param, ("engine", "scale_train"))
        if not 0 <= param.dropout_ratio < 1:
            self.error(
                f"dropout_ratio: expected at least 0 and less than 1, got {param.dropout_ratio:g}. "
                "It is the part of the elements that becomes 0."
            )

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return () if self.testing else ("values",)

    def make_op(self, x: Blob) -> Any:
        param = self.param.dropout_param
        kept = 1.0 - param.dropout_ratio
        if self.testing:
            return self.ops.power(scale=1.0 if param.scale_train else kept)
        scale = 1.0 / kept if param.scale_train else 1.0
        stream = self.stream("dropout")
        return self.ops.dropout(param.dropout_ratio, scale, stream, self.context.passes)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if not self._does_nothing(bottom, top):
            super().forward(bottom, top)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if self._does_nothing(bottom, top):
            return
        if self.testing:
            super().backward(top, propagate_down, bottom)
        elif propagate_down[0]:
            self.op.backward(top[0].diff, out=bottom[0].diff)

    def _does_nothing(self, bottom: Blobs, top: Blobs) -> bool:
        """Whether phase TEST leaves the blob as it is."""
        in_place = bottom[0] is top[0]
        return self.testing and in_place and self.param.dropout_param.scale_train
