"""Losses of scores or probabilities against one class label per sample, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.labels import LabelReader

LEAST_PROBABILITY = 1e-20  # Caffe's bound, which keeps logarithms and their gradients finite


class SampleLoss(Op):
    """Base of losses that are a mean over N samples with a label each."""

    def __init__(self, ops: Ops, samples: int, classes: int, where: str) -> None:
        """samples: N.  where: the layer, for messages."""
        super().__init__(ops)
        self.shape = samples, classes
        self.samples = samples or 1
        self.labels = LabelReader(AxisGeometry(samples, classes, 1), None, where)


class HingeLoss(SampleLoss):
    """The sum of max(0, 1 - s x) or of its square, divided by N; s is 1 at the label, else -1."""

    def __init__(self, ops: Ops, samples: int, classes: int, where: str, squared: bool) -> None:
        """squared: sum the squares."""
        super().__init__(ops, samples, classes, where)
        self.squared = squared

    @step(reads="x label", writes="out margins")
    def forward(self, x: Value, label: Value, *, out: Value, margins: Value) -> None:
        """x: (N, classes) elements.  label: (N,) elements.  out: the loss, a scalar.  margins: like
        x, max(0, 1 - s x).

        Raises: LabelError where a label is no class.
        """
        classes, _ = self.labels.read(label)
        found = margins.write().reshape(self.shape)
        self._find_margins(x, classes, found)
        flat = found.reshape(-1)
        out.write()[...] = (np.dot(flat, flat) if self.squared else flat.sum()) / self.samples

    @step(reads="x label dloss", writes="out")
    def backward(self, x: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x; a margin of
        exactly 0 has none."""
        classes, _ = self.labels.read(label)
        gradient = out.write().reshape(self.shape)
        self._find_margins(x, classes, gradient)
        if self.squared:
            gradient *= 2
        else:
            np.sign(gradient, out=gradient)
        self._flip(gradient, classes)
        gradient *= dloss.read() / self.samples

    def _find_margins(self, x: Value, classes: np.ndarray, margins: np.ndarray) -> None:
        """Makes the elements of margins max(0, 1 - s x)."""
        np.copyto(margins, x.read().reshape(self.shape))
        self._flip(margins, classes)
        margins += 1
        np.maximum(margins, 0, out=margins)

    @staticmethod
    def _flip(array: np.ndarray, classes: np.ndarray) -> None:
        """Changes the sign at the labels."""
        chosen = np.take_along_axis(array, classes, axis=1)
        np.put_along_axis(array, classes, -chosen, axis=1)


class LogisticLoss(SampleLoss):
    """-sum(log(max(p[label], 1e-20))) / N, for probabilities p."""

    @step(reads="p label", writes="out")
    def forward(self, p: Value, label: Value, *, out: Value) -> None:
        """p: (N, classes) elements.  label: (N,) elements.  out: the loss, a scalar.

        Raises: LabelError where a label is no class.
        """
        chosen = self._chosen(p, self.labels.read(label)[0])
        out.write()[...] = -np.log(chosen).sum() / self.samples

    @step(reads="p label dloss", writes="out")
    def backward(self, p: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of p, at the label
        -1 / max(p, 1e-20) weighted, else 0."""
        classes, _ = self.labels.read(label)
        weight = -dloss.read() / self.samples
        gradient = out.write().reshape(self.shape)
        gradient.fill(0)
        np.put_along_axis(gradient, classes, weight / self._chosen(p, classes), axis=1)

    def _chosen(self, p: Value, classes: np.ndarray) -> np.ndarray:
        """(N, 1) the probabilities at the labels, bounded."""
        probabilities = p.read().reshape(self.shape)
        chosen = np.take_along_axis(probabilities, classes, axis=1)
        bounded: np.ndarray = np.maximum(chosen, self.ops.dtype.type(LEAST_PROBABILITY))
        return bounded
