"""Losses of real numbers on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops


def pair_differences(a: Value, b: Value, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) a - b, and (N,) the sums of its squares.  samples: N."""
    shape = (samples, a.count // (samples or 1))
    difference = a.read().reshape(shape) - b.read().reshape(shape)
    return difference, np.einsum("nc,nc->n", difference, difference)


class EuclideanLoss(Op):
    """sum((a - b)^2) / (2 N); 0 for no samples."""

    def __init__(self, ops: Ops, samples: int) -> None:
        """samples: N."""
        super().__init__(ops)
        self.samples = samples

    @step(reads="a b", writes="out")
    def forward(self, a: Value, b: Value, *, out: Value) -> None:
        """a, b: of as many elements.  out: the loss, a scalar."""
        difference = a.read().reshape(-1) - b.read().reshape(-1)
        out.write()[...] = np.dot(difference, difference) / (2 * self.samples or 1)

    @step(reads="a b dloss", writes="out_a out_b")
    def backward(
        self,
        a: Value,
        b: Value,
        dloss: Value,
        *,
        out_a: Value | None = None,
        out_b: Value | None = None,
    ) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out_a, out_b: gradients of a and
        b, (a - b) / N and its negative, weighted."""
        difference = a.read().reshape(-1) - b.read().reshape(-1)
        weight = dloss.read() / (self.samples or 1)
        for out, sign in ((out_a, 1), (out_b, -1)):
            if out is not None:
                np.multiply(difference, sign * weight, out=out.write().reshape(-1))


class ContrastiveLoss(Op):
    """sum over pairs of (y d^2 + (1 - y) max(margin - d, 0)^2) / (2 N), d = |a - b|; in the legacy
    form max(margin - d^2, 0) for unlike pairs. y: 0 where the label, cut to an integer, is 0.
    """

    # Keeps the gradient of an unlike pair finite at distance 0; Caffe's constant.
    EPSILON = 1e-4

    def __init__(self, ops: Ops, samples: int, margin: float, legacy: bool) -> None:
        super().__init__(ops)
        self.samples = samples
        self.margin = ops.dtype.type(margin)
        self.legacy = legacy

    @step(reads="a b label", writes="out")
    def forward(self, a: Value, b: Value, label: Value, *, out: Value) -> None:
        """a, b: (N, C) elements.  label: (N,) elements.  out: the loss, a scalar."""
        difference, like, squared = self._pairs(a, b, label)
        if self.legacy:
            unlike = np.maximum(self.margin - squared, 0)
        else:
            unlike = np.square(np.maximum(self.margin - np.sqrt(squared), 0))
        total = np.where(like, squared, unlike).sum(dtype=difference.dtype)
        out.write()[...] = total / (2 * self.samples or 1)

    @step(reads="a b label dloss", writes="out_a out_b")
    def backward(
        self,
        a: Value,
        b: Value,
        label: Value,
        dloss: Value,
        *,
        out_a: Value | None = None,
        out_b: Value | None = None,
    ) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out_a, out_b: gradients of a and
        b, of which one is the negative of the other."""
        difference, like, squared = self._pairs(a, b, label)
        if self.legacy:
            unlike = np.where(squared < self.margin, self.ops.dtype.type(-1), 0)
        else:
            distance = np.sqrt(squared)
            gap = np.maximum(self.margin - distance, 0)
            unlike = -gap / (distance + self.ops.dtype.type(self.EPSILON))
        weight = dloss.read() / (self.samples or 1)
        difference *= (np.where(like, self.ops.dtype.type(1), unlike) * weight)[:, None]
        for out, sign in ((out_a, 1), (out_b, -1)):
            if out is not None:
                np.multiply(difference, sign, out=out.write().reshape(difference.shape))

    def _pairs(self, a: Value, b: Value, label: Value) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, C) a - b, (N,) whether the pair is alike, (N,) its squared distance."""
        difference, squared = pair_differences(a, b, self.samples)
        return difference, np.trunc(label.read().reshape(-1)) != 0, squared


class TripletLoss(Op):
    """sum over rows of max(0, margin + |a - p|^2 - |a - n|^2) / (2 N)."""

    def __init__(self, ops: Ops, samples: int, margin: float) -> None:
        """samples: N."""
        super().__init__(ops)
        self.samples = samples
        self.margin = ops.dtype.type(margin)

    @step(reads="a p n", writes="out")
    def forward(self, a: Value, p: Value, n: Value, *, out: Value) -> None:
        """a, p, n: (N, C) elements.  out: the loss, a scalar."""
        costs = np.maximum(self._gaps(a, p, n), 0)
        out.write()[...] = costs.sum() / (2 * self.samples or 1)

    @step(reads="a p n dloss", writes="out_a out_p out_n")
    def backward(
        self,
        a: Value,
        p: Value,
        n: Value,
        dloss: Value,
        *,
        out_a: Value | None = None,
        out_p: Value | None = None,
        out_n: Value | None = None,
    ) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out_a, out_p, out_n: gradients of
        a, p and n: (n - p) / N, (p - a) / N and (a - n) / N, weighted; 0 in rows that cost
        nothing."""
        weight = dloss.read() / (self.samples or 1)
        shape = self.samples, a.count // (self.samples or 1)
        slopes = np.where(self._gaps(a, p, n) > 0, weight, 0)[:, None]
        for out, plus, minus in ((out_a, n, p), (out_p, p, a), (out_n, a, n)):
            if out is not None:
                gradient = out.write().reshape(shape)
                np.subtract(plus.read().reshape(shape), minus.read().reshape(shape), out=gradient)
                gradient *= slopes

    def _gaps(self, a: Value, p: Value, n: Value) -> np.ndarray:
        """(N,) margin + |a - p|^2 - |a - n|^2."""
        near, far = (pair_differences(a, other, self.samples)[1] for other in (p, n))
        gaps: np.ndarray = self.margin + near - far
        return gaps
