"""Losses of the softmax of scores on a GPU."""

from __future__ import annotations

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.labels import DeviceLabels
from caffepy.engine.ops.cuda.loss_sums import Divisor, SummingOp
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.cuda.softmax import CudaSoftmax
from caffepy.engine.ops.geometry import AxisGeometry


class LabelledSoftmax(SummingOp):
    """Base of the losses of p, the softmax of scores, against class numbers: a sum over the
    positions that are not ignored, divided by what the normalisation says."""

    family = "class_loss"

    def __init__(
        self,
        ops: DeviceOps,
        geometry: AxisGeometry,
        normalization: LossNormalization,
        ignore_label: int | None,
        where: str,
    ) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.softmax = CudaSoftmax(ops, geometry)
        self.labels = DeviceLabels(ops, geometry, ignore_label, where)
        self.divisor = Divisor.of(ops, normalization, ignore_label)
        self._sizes = geometry.size, geometry.inner


class CudaSoftmaxLoss(LabelledSoftmax):
    """-log(p[label]) of each position."""

    @step(reads="x label", writes="out prob")
    def forward(self, x: Value, label: Value, *, out: Value, prob: Value) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  out: the loss, a scalar.
        prob: like x, the probabilities.

        Raises: LabelError where a label is no class.
        """
        classes = self.labels.check(label)
        self.softmax.forward(x, out=prob)
        self.launch_sum(
            "softmax_loss",
            label.count,
            *self._sizes,
            prob,
            *classes,
            divisor=self.divisor.count(label),
            out=out,
        )

    @step(reads="prob label dloss", writes="out")
    def backward(self, prob: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is
        (p - 1 at the label) weighted; 0 at ignored positions."""
        classes, divisor = self.labels.check(label), self.divisor.count(label)
        weight = dloss, *divisor
        self.launch("softmax_loss_backward", out.count, *self._sizes, prob, *classes, *weight, out)

    @step(reads="prob label", writes="out")
    def forward_positions(self, prob: Value, label: Value, *, out: Value) -> None:
        """After `forward`.  out: (outer, inner) elements, the loss of each position by itself, 0
        where it is ignored."""
        arguments = prob, *self.labels.check(label), out
        self.launch("softmax_loss_positions", out.count, *self._sizes, *arguments)


class CudaInfogainLoss(LabelledSoftmax):
    """-sum over classes l of H[label, l] log(max(p[l], 1e-20)) of each position."""

    def __init__(
        self,
        ops: DeviceOps,
        geometry: AxisGeometry,
        normalization: LossNormalization,
        ignore_label: int | None,
        where: str,
    ) -> None:
        """where: the layer, for messages."""
        super().__init__(ops, geometry, normalization, ignore_label, where)
        self._row_sums = self.scratch(geometry.size)  # of H

    @step(reads="x label h", writes="out prob")
    def forward(self, x: Value, label: Value, h: Value, *, out: Value, prob: Value) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  h: H, (size, size)
        elements.  out: the loss, a scalar.  prob: like x, the probabilities.

        Raises: LabelError where a label is no class.
        """
        classes = self.labels.check(label)
        self.softmax.forward(x, out=prob)
        self.launch_sum(
            "infogain_loss",
            prob.count,
            *self._sizes,
            prob,
            h,
            *classes,
            divisor=self.divisor.count(label),
            out=out,
        )

    @step(reads="prob label h dloss", writes="out")
    def backward(self, prob: Value, label: Value, h: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is
        p[l] times the sum of H's row at the label, less H[label, l], weighted; 0 at ignored
        positions."""
        classes, divisor = self.labels.check(label), self.divisor.count(label)
        size, weight = self.geometry.size, (dloss, *divisor)
        self.launch_rows("row_sums", size, size, h, self._row_sums)
        arguments = prob, h, self._row_sums, *classes, *weight, out
        self.launch("infogain_loss_backward", out.count, *self._sizes, *arguments)


class CudaSoftTargetLoss(SummingOp):
    """The sum over targets t above 0 of t (log t - log p), divided by N; p is the softmax of the
    scores."""

    family = "loss"

    def __init__(self, ops: DeviceOps, geometry: AxisGeometry, samples: int) -> None:
        """samples: N."""
        super().__init__(ops)
        self.softmax = CudaSoftmax(ops, geometry)
        self.divisor = Divisor(ops, samples or 1).arguments

    @step(reads="x target", writes="out prob")
    def forward(self, x: Value, target: Value, *, out: Value, prob: Value) -> None:
        """x, target: geometry.shape elements.  out: the loss, a scalar.  prob: like x, p."""
        self.softmax.forward(x, out=prob)
        arguments = prob, target
        self.launch_sum("soft_target_loss", x.count, *arguments, divisor=self.divisor, out=out)

    @step(reads="prob target dloss", writes="out")
    def backward(self, prob: Value, target: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, (p - t) / N
        weighted, which is exact where the targets of a position are probabilities."""
        weight = dloss, *self.divisor
        self.launch("cross_entropy_backward", out.count, False, 0, prob, target, *weight, out)
