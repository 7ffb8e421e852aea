"""Base of losses that make probabilities of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer
from caffepy.engine.core.value import Value


class ProbabilityLossLayer(LossLayer):
    """A loss of scores, bottom[0], and labels, bottom[1], whose op keeps the probabilities that it
    makes of the scores for its gradient.

    Attributes, of `reshape`: op, which a subclass builds: `forward(scores, labels, *, out, prob)`,
    `backward(prob, labels, loss_diff, *, out)`; probabilities, like bottom[0].
    """

    op: Any

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.probabilities = Value(bottom[0].shape, self.ops.dtype)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, bottom[1].data, out=top[0].data, prob=self.probabilities)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_label_gradient(propagate_down)
        if propagate_down[0]:
            self.op.backward(self.probabilities, bottom[1].data, top[0].diff, out=bottom[0].diff)
