"""Updates of parameters on numpy, the reference: what all of them share, and gradient descent.

They run elementwise in the parameter's home layout, in chunks that stay in the cache, and allocate
nothing. An update op serves all parameters of a net.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops

CHUNK = 1 << 16  # elements: five arrays of them fit a core's second-level cache

# Takes a chunk of g, scratch of its size that may change as g may, and the chunk of the weights and
# of each history value; gives what is subtracted from the weights.
Rule = Callable[..., np.ndarray]


class Update(Op):
    """What update rules share: the gradient that they start from.

    g = scale * diff + decay * data (decay * sign(data) with l1)
    """

    def __init__(self, ops: Ops, l1: bool = False) -> None:
        super().__init__(ops)
        self.l1 = l1
        self._gradient = np.empty(CHUNK, ops.dtype)
        self._scratch = np.empty(CHUNK, ops.dtype)

    def apply(
        self,
        data: Value,
        diff: Value,
        histories: Sequence[Value],
        rule: Rule,
        *,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> None:
        """data -= rule(g, scratch, data, *histories), chunk by chunk; keep_diff: diff gets what was
        subtracted."""
        home = data.home
        weights = home.elements(data.modify(home))
        slope = home.elements(diff.modify(home) if keep_diff else diff.read(home))
        past = [home.elements(history.modify(home)) for history in histories]
        for chunk, gradient in self.gradients(weights, slope, scale, decay):
            scratch = self._scratch[: gradient.size]
            here = weights[chunk]
            taken = rule(gradient, scratch, here, *(one[chunk] for one in past))
            here -= taken
            if keep_diff:
                slope[chunk] = taken

    def gradients(
        self, data: np.ndarray, diff: np.ndarray, scale: float, decay: float
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """For each chunk of the flat arrays its place and g, in scratch memory that may change."""
        for start in range(0, data.size, CHUNK):
            chunk = slice(start, min(start + CHUNK, data.size))
            gradient = self._gradient[: chunk.stop - start]
            np.multiply(diff[chunk], scale, out=gradient)
            if decay:
                gradient += self.penalty(data[chunk], decay, self._scratch[: gradient.size])
            yield chunk, gradient

    def penalty(self, weights: np.ndarray, decay: float, out: np.ndarray) -> np.ndarray:
        """decay * weights (decay * sign(weights) with l1), in `out`."""
        if self.l1:
            np.sign(weights, out=out)
            out *= decay
            return out
        np.multiply(weights, decay, out=out)
        return out


class SgdUpdate(Update):
    """Stochastic gradient descent with momentum."""

    @step(reads="data diff history", writes="data diff history")
    def update(
        self,
        data: Value,
        diff: Value,
        history: Value,
        *,
        rate: float,
        momentum: float,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> None:
        """history = momentum * history + rate * g; data -= history; keep_diff: diff = history."""
        rule = self._descend(rate, momentum)
        self.apply(data, diff, [history], rule, scale=scale, decay=decay, keep_diff=keep_diff)

    @staticmethod
    def _descend(rate: float, momentum: float) -> Rule:
        def descend(
            gradient: np.ndarray, scratch: np.ndarray, weights: np.ndarray, velocity: np.ndarray
        ) -> np.ndarray:
            velocity *= momentum
            velocity += np.multiply(gradient, rate, out=gradient)
            return velocity

        return descend


class NesterovUpdate(Update):
    """Nesterov's accelerated gradient."""

    @step(reads="data diff history", writes="data diff history")
    def update(
        self,
        data: Value,
        diff: Value,
        history: Value,
        *,
        rate: float,
        momentum: float,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> None:
        """new = momentum * history + rate * g; update = (1 + momentum) * new - momentum * history;
        history = new; data -= update; keep_diff: diff = update."""

        def rule(
            gradient: np.ndarray, scratch: np.ndarray, weights: np.ndarray, velocity: np.ndarray
        ) -> np.ndarray:
            back = np.multiply(velocity, momentum, out=scratch)
            np.add(back, np.multiply(gradient, rate, out=gradient), out=velocity)
            np.multiply(velocity, 1 + momentum, out=gradient)
            gradient -= back
            return gradient

        self.apply(data, diff, [history], rule, scale=scale, decay=decay, keep_diff=keep_diff)


class LarsUpdate(SgdUpdate):
    """Gradient descent whose rate follows from the norms of a parameter and its gradient.

    norm_decay: whether the gradient's norm is that of g; else that of scale * diff.
    clip: the rate given is an upper limit, not a factor.
    """

    def __init__(
        self, ops: Ops, l1: bool = False, norm_decay: bool = False, clip: bool = False
    ) -> None:
        super().__init__(ops, l1)
        self.norm_decay = norm_decay
        self.clip = clip

    @step(reads="data diff history", writes="data diff history")
    def update(  # type: ignore[override] # needs two numbers more
        self,
        data: Value,
        diff: Value,
        history: Value,
        *,
        rate: float,
        momentum: float,
        scale: float,
        decay: float,
        keep_diff: bool,
        trust: float,
        denominator_decay: float,
    ) -> None:
        """local = trust * |data| / (|gradient| + denominator_decay * |data|), 1 where one of the
        norms is 0; then SgdUpdate with rate * local, or min(rate, local) with clip."""
        home = data.home
        weights = home.elements(data.read(home))
        slope = home.elements(diff.read(home))
        length = math.sqrt(np.dot(weights, weights))
        squares = sum(
            float(np.dot(gradient, gradient))
            for _, gradient in self.gradients(
                weights, slope, scale, decay if self.norm_decay else 0.0
            )
        )
        local = 1.0
        if length > 0 and squares > 0:
            local = trust * length / (math.sqrt(squares) + denominator_decay * length)
        rule = self._descend(min(rate, local) if self.clip else rate * local, momentum)
        self.apply(data, diff, [history], rule, scale=scale, decay=decay, keep_diff=keep_diff)


class SumOfSquares(Op):
    """The squared L2 norm of several values together."""

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """out: a scalar."""
        total = self.ops.dtype.type(0)
        for x in xs:
            elements = x.home.elements(x.read(x.home))
            total += np.dot(elements, elements)
        out.write()[...] = total
