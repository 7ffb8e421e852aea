"""Losses of scores or probabilities against one class label per sample, on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.labels import DeviceLabels
from caffepy.engine.ops.cuda.loss_sums import Divisor, SummingOp
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry


class SampleLoss(SummingOp):
    """Base of losses that are a mean over N samples with a label each."""

    family = "class_loss"

    def __init__(self, ops: DeviceOps, samples: int, classes: int, where: str) -> None:
        """samples: N.  where: the layer, for messages."""
        super().__init__(ops)
        self.shape = samples, classes
        self.labels = DeviceLabels(ops, AxisGeometry(samples, classes, 1), None, where)
        self.divisor = Divisor(ops, samples or 1).arguments


class CudaHingeLoss(SampleLoss):
    """The sum of max(0, 1 - s x) or of its square, divided by N; s is 1 at the label, else -1."""

    def __init__(
        self, ops: DeviceOps, samples: int, classes: int, where: str, squared: bool
    ) -> None:
        """squared: sum the squares."""
        super().__init__(ops, samples, classes, where)
        self.squared = squared

    @step(reads="x label", writes="out margins")
    def forward(self, x: Value, label: Value, *, out: Value, margins: Value) -> None:
        """x: (N, classes) elements.  label: (N,) elements.  out: the loss, a scalar.  margins: like
        x, max(0, 1 - s x).

        Raises: LabelError where a label is no class.
        """
        arguments = self.shape[1], self.squared, x, *self.labels.check(label), margins
        self.launch_sum("hinge_loss", x.count, *arguments, divisor=self.divisor, out=out)

    @step(reads="x label dloss", writes="out")
    def backward(self, x: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x; a margin of
        exactly 0 has none."""
        arguments = self.shape[1], self.squared, x, *self.labels.check(label)
        self.launch("hinge_loss_backward", x.count, *arguments, dloss, *self.divisor, out)


class CudaLogisticLoss(SampleLoss):
    """-sum(log(max(p[label], 1e-20))) / N, for probabilities p."""

    @step(reads="p label", writes="out")
    def forward(self, p: Value, label: Value, *, out: Value) -> None:
        """p: (N, classes) elements.  label: (N,) elements.  out: the loss, a scalar.

        Raises: LabelError where a label is no class.
        """
        samples, classes = self.shape
        arguments = classes, p, *self.labels.check(label)
        self.launch_sum("logistic_loss", samples, *arguments, divisor=self.divisor, out=out)

    @step(reads="p label dloss", writes="out")
    def backward(self, p: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of p, at the label
        -1 / max(p, 1e-20) weighted, else 0."""
        arguments = self.shape[1], p, *self.labels.check(label), dloss, *self.divisor, out
        self.launch("logistic_loss_backward", p.count, *arguments)
