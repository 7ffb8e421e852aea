"""The focal loss on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import HostOps
from caffepy.engine.ops.numpy.softmax_loss import SMALLEST, LabelledSoftmax, probabilities


def focal_losses(p: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    """-alpha (1 - p)^gamma log p of each probability p of a label."""
    power = np.power(np.maximum(1 - p, 0), p.dtype.type(gamma))
    losses: np.ndarray = power * np.log(np.maximum(p, SMALLEST))
    losses *= -alpha
    return losses


def focal_slopes(p: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    """p times the derivative of focal_losses by p: what the gradient of the scores is at the label
    for 1 - p, elsewhere for -p of the class there. Finite at p = 0 and at p = 1."""
    rest = np.maximum(1 - p, 0)
    ratio = np.full_like(p, -1)  # log(p) / (1 - p), whose limit at 1 is -1
    np.divide(np.log(np.maximum(p, SMALLEST)), rest, out=ratio, where=rest > 0)
    slopes: np.ndarray = np.power(rest, p.dtype.type(gamma)) * (p * ratio * gamma - 1)
    slopes *= alpha
    return slopes


class FocalLoss(LabelledSoftmax):
    """-alpha (1 - p[label])^gamma log(p[label]) of each position."""

    def __init__(
        self,
        ops: HostOps,
        geometry: AxisGeometry,
        normalization: LossNormalization,
        ignore_label: int | None,
        where: str,
        alpha: float,
        gamma: float,
    ) -> None:
        """where: the layer, for messages.  gamma: at least 0."""
        super().__init__(ops, geometry, normalization, ignore_label, where)
        self.alpha = alpha
        self.gamma = gamma

    @step(reads="x label", writes="out prob")
    def forward(self, x: Value, label: Value, *, out: Value, prob: Value) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  out: the loss, a scalar.
        prob: like x, the probabilities.

        Raises: LabelError where a label is no class.
        """
        classes, counted = self.labels.read(label)
        p = probabilities(x, prob, self.geometry, self)
        chosen = p.reshape(-1)[self.labels.places(classes)]
        out.write()[...] = self._loss(focal_losses(chosen, self.alpha, self.gamma), counted)

    @step(reads="prob label dloss", writes="out")
    def backward(self, prob: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is the
        slope at the label times (1 at the label - p), weighted; 0 at ignored positions."""
        classes, counted = self.labels.read(label)
        places = self.labels.places(classes)
        p = prob.read().reshape(self.geometry.shape)
        slopes = focal_slopes(p.reshape(-1)[places], self.alpha, self.gamma)
        gradient = out.write().reshape(self.geometry.shape)
        np.negative(p, out=gradient)
        gradient.reshape(-1)[places] += 1
        gradient *= slopes[:, None]
        self._finish(gradient, counted, dloss)
