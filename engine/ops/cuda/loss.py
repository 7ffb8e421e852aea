"""Losses of real numbers on a GPU."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.loss_sums import Divisor, SummingOp
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.numpy.loss import ContrastiveLoss


class PairOp(SummingOp):
    """Base of ops on N pairs of rows, (N, C) elements each."""

    family = "loss"

    def __init__(self, ops: DeviceOps, samples: int) -> None:
        """samples: N."""
        super().__init__(ops)
        self.samples = samples
        self._squared = self.scratch(samples)
        self._nowhere = self.scratch(1)  # for a gradient that nobody wants

    def distances(self, a: Value, b: Value) -> Value:
        """(N,) the squared distances."""
        self.launch_rows("squared_distances", self.samples, self.size(a), a, b, self._squared)
        return self._squared

    def size(self, a: Value) -> int:
        """C."""
        return a.count // (self.samples or 1)

    def targets(self, *outs: Value | None) -> tuple[Any, ...]:
        """For kernels: which gradients are wanted, then where all of them go."""
        return *(out is not None for out in outs), *(out or self._nowhere for out in outs)


class CudaEuclideanLoss(SummingOp):
    """sum((a - b)^2) / (2 N); 0 for no samples."""

    family = "loss"

    def __init__(self, ops: DeviceOps, samples: int) -> None:
        """samples: N."""
        super().__init__(ops)
        self.samples = samples
        self.divisor = Divisor(ops, 2 * samples or 1).arguments

    @step(reads="a b", writes="out")
    def forward(self, a: Value, b: Value, *, out: Value) -> None:
        """a, b: of as many elements.  out: the loss, a scalar."""
        self.launch_sum("euclidean_loss", a.count, a, b, divisor=self.divisor, out=out)

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
        arguments = a, b, dloss, self.samples or 1
        if out_a is not None and out_b is not None:
            self.launch("euclidean_backward_both", a.count, *arguments, out_a, out_b)
            return
        for out, sign in ((out_a, 1), (out_b, -1)):
            if out is not None:
                self.launch("euclidean_backward", a.count, sign, *arguments, out)


class CudaContrastiveLoss(PairOp):
    """sum over pairs of (y d^2 + (1 - y) max(margin - d, 0)^2) / (2 N), d = |a - b|; in the legacy
    form max(margin - d^2, 0) for unlike pairs. y: 0 where the label, cut to an integer, is 0.
    """

    def __init__(self, ops: DeviceOps, samples: int, margin: float, legacy: bool) -> None:
        super().__init__(ops, samples)
        self.margin = margin
        self.legacy = legacy
        self.divisor = Divisor(ops, 2 * samples or 1).arguments

    @step(reads="a b label", writes="out")
    def forward(self, a: Value, b: Value, label: Value, *, out: Value) -> None:
        """a, b: (N, C) elements.  label: (N,) elements.  out: the loss, a scalar."""
        arguments = self.margin, self.legacy, self.distances(a, b), label
        self.launch_sum("contrastive_loss", self.samples, *arguments, divisor=self.divisor, out=out)

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
        arguments = self.margin, ContrastiveLoss.EPSILON, self.legacy, a, b, label, dloss
        self.launch_rows(
            "contrastive_backward",
            self.samples,
            self.size(a),
            *arguments,
            self.samples or 1,
            *self.targets(out_a, out_b),
        )


class CudaTripletLoss(PairOp):
    """sum over rows of max(0, margin + |a - p|^2 - |a - n|^2) / (2 N)."""

    def __init__(self, ops: DeviceOps, samples: int, margin: float) -> None:
        """samples: N."""
        super().__init__(ops, samples)
        self.margin = margin
        self.divisor = Divisor(ops, 2 * samples or 1).arguments
        self._far = self.scratch(samples)

    @step(reads="a p n", writes="out")
    def forward(self, a: Value, p: Value, n: Value, *, out: Value) -> None:
        """a, p, n: (N, C) elements.  out: the loss, a scalar."""
        self.launch_rows("squared_distances", self.samples, self.size(a), a, n, self._far)
        arguments = self.margin, self.distances(a, p), self._far
        self.launch_sum("triplet_loss", self.samples, *arguments, divisor=self.divisor, out=out)

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
        self.launch_rows(
            "triplet_backward",
            self.samples,
            self.size(a),
            self.margin,
            a,
            p,
            n,
            dloss,
            self.samples or 1,
            *self.targets(out_a, out_p, out_n),
        )
