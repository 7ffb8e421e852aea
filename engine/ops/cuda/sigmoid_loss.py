"""The cross entropy of a sigmoid on a GPU."""

from __future__ import annotations

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.loss_sums import Divisor, SummingOp
from caffepy.engine.ops.cuda.op import DeviceOps


class CudaSigmoidLoss(SummingOp):
    """-sum(t log p + (1 - t) log(1 - p)) / M with p = 1 / (1 + exp(-x)), over the elements whose
    target, cut to an integer, is not ignored."""

    family = "loss"

    def __init__(
        self, ops: DeviceOps, normalization: LossNormalization, ignore_label: int | None
    ) -> None:
        super().__init__(ops)
        self.divisor = Divisor.of(ops, normalization, ignore_label)
        self._ignored = ignore_label is not None, ignore_label or 0

    @step(reads="x target", writes="out prob")
    def forward(self, x: Value, target: Value, *, out: Value, prob: Value) -> None:
        """x, target: as many elements.  out: the loss, a scalar.  prob: like x, p."""
        arguments, divisor = (*self._ignored, x, target, prob), self.divisor.count(target)
        self.launch_sum("sigmoid_loss", x.count, *arguments, divisor=divisor, out=out)

    @step(reads="prob target dloss", writes="out")
    def backward(self, prob: Value, target: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is
        (p - t) / M weighted; 0 where the target is ignored."""
        arguments, divisor = (*self._ignored, prob, target), self.divisor.count(target)
        self.launch("cross_entropy_backward", out.count, *arguments, dloss, *divisor, out)
