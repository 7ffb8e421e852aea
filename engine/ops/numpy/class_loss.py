"""Losses of scores against class labels or class probabilities, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.labels import LabelReader
from caffepy.engine.ops.numpy.softmax import SMALLEST, softmax

LEAST_PROBABILITY = 1e-20  # Caffe's bound, which keeps logarithms and their gradients finite


class HingeLoss(Op):
    """The sum of max(0, 1 - s x) or of its square, divided by N; s is 1 at the label, else -1."""

    def __init__(self, ops: Ops, geometry: AxisGeometry, squared: bool, where: str) -> None:
        """geometry: (N, classes, 1).  where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.squared = squared
        self.samples = geometry.outer or 1
        self._labels = LabelReader(geometry, None, where)

    @step(reads="x label", writes="out")
    def forward(self, x: Value, label: Value, *, out: Value) -> None:
        """x: (N, classes) elements.  label: (N,) elements.  out: the loss, a scalar.

        Raises: LabelError where a label is no class.
        """
        margins = self._margins(x, self._labels.read(label)[0])
        if self.squared:
            np.square(margins, out=margins)
        out.write()[...] = margins.sum() / self.samples

    @step(reads="x label dloss", writes="out")
    def backward(self, x: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x; a margin of
        exactly 0 has none."""
        classes, _ = self._labels.read(label)
        margins = self._margins(x, classes)
        gradient = out.write().reshape(margins.shape)
        if self.squared:
            np.multiply(margins, 2, out=gradient)
        else:
            np.sign(margins, out=gradient)
        self._flip(gradient, classes)
        gradient *= dloss.read() / self.samples

    def _margins(self, x: Value, classes: np.ndarray) -> np.ndarray:
        """(N, classes) max(0, 1 - s x)."""
        margins: np.ndarray = x.read().reshape(self.geometry.shape[:2]).copy()
        self._flip(margins, classes)
        margins += 1
        np.maximum(margins, 0, out=margins)
        return margins

    @staticmethod
    def _flip(array: np.ndarray, classes: np.ndarray) -> None:
        """Changes the sign at the labels."""
        chosen = np.take_along_axis(array, classes, axis=1)
        np.put_along_axis(array, classes, -chosen, axis=1)


class LogisticLoss(Op):
    """-sum(log(max(p[label], 1e-20))) / N, for probabilities p."""

    def __init__(self, ops: Ops, geometry: AxisGeometry, where: str) -> None:
        """geometry: (N, classes, 1).  where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.samples = geometry.outer or 1
        self._labels = LabelReader(geometry, None, where)

    @step(reads="p label", writes="out")
    def forward(self, p: Value, label: Value, *, out: Value) -> None:
        """p: (N, classes) elements.  label: (N,) elements.  out: the loss, a scalar.

        Raises: LabelError where a label is no class.
        """
        chosen = self._chosen(p, self._labels.read(label)[0])
        out.write()[...] = -np.log(chosen).sum() / self.samples

    @step(reads="p label dloss", writes="out")
    def backward(self, p: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of p, at the label
        -1 / max(p, 1e-20) weighted, else 0."""
        classes, _ = self._labels.read(label)
        weight = -dloss.read() / self.samples
        gradient = out.write().reshape(self.geometry.shape[:2])
        gradient.fill(0)
        np.put_along_axis(gradient, classes, weight / self._chosen(p, classes), axis=1)

    def _chosen(self, p: Value, classes: np.ndarray) -> np.ndarray:
        """(N, 1) the probabilities at the labels, bounded."""
        probabilities = p.read().reshape(self.geometry.shape[:2])
        chosen = np.take_along_axis(probabilities, classes, axis=1)
        bounded: np.ndarray = np.maximum(chosen, self.ops.dtype.type(LEAST_PROBABILITY))
        return bounded


class InfogainLoss(Op):
    """-sum over positions and classes l of H[label, l] log(max(p[l], 1e-20)), divided by what the
    normalisation says; p is the softmax of the scores."""

    def __init__(
        self,
        ops: Ops,
        geometry: AxisGeometry,
        normalization: LossNormalization,
        ignore_label: int | None,
        where: str,
    ) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.normalization = normalization
        self._labels = LabelReader(geometry, ignore_label, where)

    @step(reads="x label h", writes="out prob")
    def forward(self, x: Value, label: Value, h: Value, *, out: Value, prob: Value) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  h: H, (size, size)
        elements.  out: the loss, a scalar.  prob: like x, the probabilities.

        Raises: LabelError where a label is no class.
        """
        classes, counted = self._labels.read(label)
        p = prob.write().reshape(self.geometry.shape)
        softmax(x.read().reshape(self.geometry.shape), p)
        logs = np.log(np.maximum(p, self.ops.dtype.type(LEAST_PROBABILITY)))
        losses = np.einsum("ojl,olj->oj", self._rows(h, classes), logs)
        divisor = self.normalization.divisor(int(np.count_nonzero(counted)))
        out.write()[...] = -losses[counted].sum() / divisor

    @step(reads="prob label h dloss", writes="out")
    def backward(self, prob: Value, label: Value, h: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is
        p[l] times the sum of H's row at the label, less H[label, l], weighted; 0 at ignored
        positions."""
        classes, counted = self._labels.read(label)
        rows = self._rows(h, classes)
        gradient = out.write().reshape(self.geometry.shape)
        totals = rows.sum(axis=2)[:, None]
        np.multiply(prob.read().reshape(self.geometry.shape), totals, out=gradient)
        gradient -= rows.swapaxes(1, 2)
        gradient.swapaxes(1, 2)[~counted] = 0
        gradient *= dloss.read() / self.normalization.divisor(int(np.count_nonzero(counted)))

    def _rows(self, h: Value, classes: np.ndarray) -> np.ndarray:
        """(outer, inner, size): H's row at each label."""
        size = self.geometry.size
        rows: np.ndarray = h.read().reshape(size, size)[classes]
        return rows


class SoftTargetLoss(Op):
    """The sum over targets t above 0 of t (log t - log p), divided by N; p is the softmax of the
    scores."""

    def __init__(self, ops: Ops, geometry: AxisGeometry, samples: int) -> None:
        """samples: N."""
        super().__init__(ops)
        self.geometry = geometry
        self.samples = samples or 1

    @step(reads="x target", writes="out prob")
    def forward(self, x: Value, target: Value, *, out: Value, prob: Value) -> None:
        """x, target: geometry.shape elements.  out: the loss, a scalar.  prob: like x, p."""
        p = prob.write().reshape(self.geometry.shape)
        softmax(x.read().reshape(self.geometry.shape), p)
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
