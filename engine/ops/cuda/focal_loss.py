"""The focal loss on a GPU."""

from __future__ import annotations

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.cuda.softmax_loss import LabelledSoftmax
from caffepy.engine.ops.geometry import AxisGeometry


class CudaFocalLoss(LabelledSoftmax):
    """-alpha (1 - p[label])^gamma log(p[label]) of each position."""

    family = "focal_loss"

    def __init__(
        self,
        ops: DeviceOps,
        geometry: AxisGeometry,
        normalization: LossNormalization,
        ignore_label: int | None,
        where: str,
        alpha: float,
        gamma: float,
    ) -> None:
        """where: the layer, for messages.  gamma: at least 0."""
        super().__init__(ops, geometry, normalization, ignore_label, where)
        self._powers = alpha, gamma
        self._slopes = self.scratch(geometry.outer * geometry.inner)

    @step(reads="x label", writes="out prob")
    def forward(self, x: Value, label: Value, *, out: Value, prob: Value) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  out: the loss, a scalar.
        prob: like x, the probabilities.

        Raises: LabelError where a label is no class.
        """
        classes = self.labels.check(label)
        self.softmax.forward(x, out=prob)
        arguments = *self._sizes, *self._powers, prob, *classes
        divisor = self.divisor.count(label)
        self.launch_sum("focal_loss", label.count, *arguments, divisor=divisor, out=out)

    @step(reads="prob label dloss", writes="out")
    def backward(self, prob: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is the
        slope at the label times (1 at the label - p), weighted; 0 at ignored positions."""
        classes, divisor = self.labels.check(label), self.divisor.count(label)
        arguments = *self._powers, prob, *classes, dloss, *divisor, self._slopes
        self.launch("focal_slopes", label.count, *self._sizes, *arguments)
        gradient = prob, label, self._slopes, out
        self.launch("focal_loss_backward", out.count, *self._sizes, *gradient)
