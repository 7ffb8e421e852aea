"""Softmax, and softmax with the cross-entropy loss, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import source_and_target
from caffepy.engine.ops.numpy.labels import LabelReader

SMALLEST = np.finfo(np.float32).tiny  # Caffe's FLT_MIN: keeps the logarithm of 0 finite


def softmax(x: np.ndarray, out: np.ndarray) -> None:
    """exp(x) / sum(exp(x)) along axis 1 of (outer, size, inner); the largest x is taken off
    first."""
    np.subtract(x, x.max(axis=1, keepdims=True, initial=-np.inf), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=1, keepdims=True)


class Softmax(Op):
    """y = exp(x) / sum(exp(x)), the sum along one axis."""

    def __init__(self, ops: Ops, geometry: AxisGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """x, out: geometry.shape elements; out may be x."""
        source, target = source_and_target(x, out)
        softmax(source.reshape(self.geometry.shape), target.reshape(self.geometry.shape))

    @step(reads="dy y", writes="out")
    def backward(self, dy: Value, y: Value, *, out: Value) -> None:
        """out: gradient of x, (dy - sum(dy y)) y; may be dy."""
        gradient, target = (
            array.reshape(self.geometry.shape) for array in source_and_target(dy, out)
        )
        outputs = y.read().reshape(self.geometry.shape)
        inner = (gradient * outputs).sum(axis=1, keepdims=True)
        np.subtract(gradient, inner, out=target)
        target *= outputs


class SoftmaxLoss(Op):
    """-log(p[label]) summed over all positions and divided by what the normalisation says; p is the
    softmax of the scores."""

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
        self.labels = LabelReader(geometry, ignore_label, where)

    @step(reads="x label", writes="out prob")
    def forward(self, x: Value, label: Value, *, out: Value, prob: Value) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  out: the loss, a scalar.
        prob: like x, the probabilities.

        Raises: LabelError where a label is no class.
        """
        classes, counted = self.labels.read(label)
        p = prob.write().reshape(self.geometry.shape)
        softmax(x.read().reshape(self.geometry.shape), p)
        chosen = np.take_along_axis(p, classes[:, None], axis=1)[:, 0]  # (outer, inner)
        losses = -np.log(np.maximum(chosen, SMALLEST))
        divisor = self.normalization.divisor(int(np.count_nonzero(counted)))
        out.write()[...] = losses[counted].sum() / divisor

    @step(reads="prob label dloss", writes="out")
    def backward(self, prob: Value, label: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, that is
        (p - 1 at the label) weighted; 0 at ignored positions."""
        classes, counted = self.labels.read(label)
        p = prob.read().reshape(self.geometry.shape)
        gradient = out.write().reshape(self.geometry.shape)
        np.copyto(gradient, p)
        chosen = np.take_along_axis(p, classes[:, None], axis=1)
        np.put_along_axis(gradient, classes[:, None], chosen - 1, axis=1)
        if not counted.all():
            gradient.swapaxes(1, 2)[~counted] = 0
        gradient *= dloss.read() / self.normalization.divisor(int(np.count_nonzero(counted)))
