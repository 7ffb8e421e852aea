"""Losses of the softmax of scores, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import HostOps, ScratchOp
from caffepy.engine.ops.numpy.class_loss import LEAST_PROBABILITY
from caffepy.engine.ops.numpy.labels import LabelReader
from caffepy.engine.ops.numpy.softmax import softmax

SMALLEST = np.finfo(np.float32).tiny  # Caffe's FLT_MIN: keeps the logarithm of 0 finite


class LabelledSoftmax(ScratchOp):
    """Base of the losses of p, the softmax of scores, against class numbers: a sum over the
    positions that are not ignored, divided by what the normalisation says."""

    def __init__(
        self,
        ops: HostOps,
        geometry: AxisGeometry,
        normalization: LossNormalization,
        ignore_label: int | None,
        where: str,
    ) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.normalization = normalization
        self.labels = LabelReader(geometry, ignore_label, where)

    def _loss(self, losses: np.ndarray, counted: np.ndarray) -> np.floating:
        """losses: (outer, inner) of each position.  counted: which of them count."""
        chosen = losses if counted is self.labels.everything else losses[counted]
        mean: np.floating = chosen.sum() / self._divisor(counted)
        return mean

    def _finish(self, gradient: np.ndarray, counted: np.ndarray, dloss: Value) -> None:
        """gradient: geometry.shape, of the sum; made that of the loss, weighted, in place."""
        if counted is not self.labels.everything:
            gradient.swapaxes(1, 2)[~counted] = 0
        gradient *= dloss.read() / self._divisor(counted)

    def _divisor(self, counted: np.ndarray) -> float:
        return self.normalization.divisor(int(np.count_nonzero(counted)))


class SoftmaxLoss(LabelledSoftmax):
    """-log(p[label]) of each position."""

    @step(reads="x label", writes="out prob")
    def forward(self, x: Value, label: Value, *, out: Value, prob: Value) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  out: the loss, a scalar.
        prob: like x, the probabilities.

        Raises: LabelError where a label is no class.
        """
        classes, counted = self.labels.read(label)
        p = probabilities(x, prob, self.geometry, self)
        chosen = p.reshape(-1)[self.labels.places(classes)]
        out.write()[...] = self._loss(-np.log(np.maximum(chosen, SMALLEST)), counted)

    @step(reads="prob label dloss", writes="out")
    def backward(self, prob: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is
        (p - 1 at the label) weighted; 0 at ignored positions."""
        classes, counted = self.labels.read(label)
        p = prob.read().reshape(self.geometry.shape)
        gradient = out.write().reshape(self.geometry.shape)
        np.copyto(gradient, p)
        gradient.reshape(-1)[self.labels.places(classes)] -= 1
        self._finish(gradient, counted, dloss)

    @step(reads="prob label", writes="out")
    def forward_positions(self, prob: Value, label: Value, *, out: Value) -> None:
        """After `forward`.  out: (outer, inner) elements, the loss of each position by itself, 0
        where it is ignored."""
        classes, counted = self.labels.read(label)
        chosen = prob.read().reshape(-1)[self.labels.places(classes)]
        losses = -np.log(np.maximum(chosen, SMALLEST))
        out.write().reshape(losses.shape)[...] = np.where(counted, losses, 0)


class InfogainLoss(LabelledSoftmax):
    """-sum over classes l of H[label, l] log(max(p[l], 1e-20)) of each position."""

    @step(reads="x label h", writes="out prob")
    def forward(self, x: Value, label: Value, h: Value, *, out: Value, prob: Value) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  h: H, (size, size)
        elements.  out: the loss, a scalar.  prob: like x, the probabilities.

        Raises: LabelError where a label is no class.
        """
        classes, counted = self.labels.read(label)
        p = probabilities(x, prob, self.geometry, self)
        logs = np.log(np.maximum(p, self.ops.dtype.type(LEAST_PROBABILITY)))
        losses = -np.einsum("ojl,olj->oj", self._rows(h, classes), logs)
        out.write()[...] = self._loss(losses, counted)

    @step(reads="prob label h dloss", writes="out")
    def backward(self, prob: Value, label: Value, h: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is
        p[l] times the sum of H's row at the label, less H[label, l], weighted; 0 at ignored
        positions."""
        classes, counted = self.labels.read(label)
        rows = self._rows(h, classes)
        gradient = out.write().reshape(self.geometry.shape)
        totals = rows.sum(axis=2)[:, None]
        np.multiply(prob.read().reshape(self.geometry.shape), totals, out=gradient)
        gradient -= rows.swapaxes(1, 2)
        self._finish(gradient, counted, dloss)

    def _rows(self, h: Value, classes: np.ndarray) -> np.ndarray:
        """(outer, inner, size): H's row at each label."""
        size = self.geometry.size
        rows: np.ndarray = h.read().reshape(size, size)[classes]
        return rows


class SoftTargetLoss(ScratchOp):
    """The sum over targets t above 0 of t (log t - log p), divided by N; p is the softmax of the
    scores."""

    def __init__(self, ops: HostOps, geometry: AxisGeometry, samples: int) -> None:
        """samples: N."""
        super().__init__(ops)
        self.geometry = geometry
        self.samples = samples or 1

    @step(reads="x target", writes="out prob")
    def forward(self, x: Value, target: Value, *, out: Value, prob: Value) -> None:
        """x, target: geometry.shape elements.  out: the loss, a scalar.  prob: like x, p."""
        p = probabilities(x, prob, self.geometry, self)
        targets = np.maximum(target.read().reshape(self.geometry.shape), 0)
        surprise = np.log(np.maximum(targets, SMALLEST)) - np.log(np.maximum(p, SMALLEST))
        out.write()[...] = (targets * surprise).sum() / self.samples

    @step(reads="prob target dloss", writes="out")
    def backward(self, prob: Value, target: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, (p - t) / N
        weighted, which is exact where the targets of a position are probabilities."""
        gradient = out.write().reshape(self.geometry.shape)
        shape = self.geometry.shape
        np.subtract(prob.read().reshape(shape), target.read().reshape(shape), out=gradient)
        gradient *= dloss.read() / self.samples


def probabilities(x: Value, prob: Value, geometry: AxisGeometry, op: ScratchOp) -> np.ndarray:
    """The softmax of x, written to prob and seen in geometry.shape."""
    p: np.ndarray = prob.write().reshape(geometry.shape)
    softmax(x.read().reshape(geometry.shape), p, op)
    return p
