"""The cross entropy of a sigmoid on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops


class SigmoidLoss(Op):
    """-sum(t log p + (1 - t) log(1 - p)) / M with p = 1 / (1 + exp(-x)), over the elements whose
    target, cut to an integer, is not ignored."""

    def __init__(
        self, ops: Ops, normalization: LossNormalization, ignore_label: int | None
    ) -> None:
        super().__init__(ops)
        self.normalization = normalization
        self.ignore_label = ignore_label

    @step(reads="x target", writes="out prob")
    def forward(self, x: Value, target: Value, *, out: Value, prob: Value) -> None:
        """x, target: as many elements.  out: the loss, a scalar.  prob: like x, p."""
        scores = x.read().reshape(-1)
        targets = target.read().reshape(-1)
        small = np.exp(-np.abs(scores))  # in (0, 1]: nothing here overflows
        p = prob.write().reshape(-1)
        np.exp(np.minimum(scores, 0, out=p), out=p)
        p /= 1 + small
        losses = np.maximum(scores, 0) - scores * targets + np.log1p(small)
        counted = self._counted(targets)
        divisor = self.normalization.divisor(int(np.count_nonzero(counted)))
        out.write()[...] = losses[counted].sum() / divisor

    @step(reads="prob target dloss", writes="out")
    def backward(self, prob: Value, target: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is
        (p - t) / M weighted; 0 where the target is ignored."""
        targets = target.read().reshape(-1)
        gradient = out.write().reshape(-1)
        np.subtract(prob.read().reshape(-1), targets, out=gradient)
        counted = self._counted(targets)
        gradient *= counted
        gradient *= dloss.read() / self.normalization.divisor(int(np.count_nonzero(counted)))

    def _counted(self, targets: np.ndarray) -> np.ndarray:
        """Which elements count."""
        if self.ignore_label is None:
            return np.full(targets.shape, True)
        counted: np.ndarray = np.trunc(targets) != self.ignore_label
        return counted
