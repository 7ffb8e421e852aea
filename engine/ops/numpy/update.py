"""Updates of parameters on numpy: the reference.

They run elementwise in the parameter's home layout, in chunks that stay in the cache, and allocate
nothing. An update op serves all parameters of a net.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops

CHUNK = 1 << 16  # elements: five arrays of them fit a core's second-level cache


class Update(Op):
    """What update rules share: the gradient that they start from.

    g = scale * diff + decay * data (decay * sign(data) with l1)
    """

    def __init__(self, ops: Ops, l1: bool = False) -> None:
        super().__init__(ops)
        self.l1 = l1
        self._gradient = np.empty(CHUNK, ops.dtype)
        self._scratch = np.empty(CHUNK, ops.dtype)

    def gradients(
        self, data: np.ndarray, diff: np.ndarray, scale: float, decay: float
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """For each chunk of the flat arrays its place and g, in scratch memory that may change."""
        for start in range(0, data.size, CHUNK):
            chunk = slice(start, min(start + CHUNK, data.size))
            gradient = self._gradient[: chunk.stop - start]
            np.multiply(diff[chunk], scale, out=gradient)
            if decay:
                penalty = self._scratch[: chunk.stop - start]
                if self.l1:
                    np.sign(data[chunk], out=penalty)
                    penalty *= decay
                else:
                    np.multiply(data[chunk], decay, out=penalty)
                gradient += penalty
            yield chunk, gradient


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
        home = data.home
        weights = home.elements(data.modify(home))
        slope = home.elements(diff.modify(home) if keep_diff else diff.read(home))
        velocity = home.elements(history.modify(home))
        for chunk, gradient in self.gradients(weights, slope, scale, decay):
            moving = velocity[chunk]
            moving *= momentum
            moving += np.multiply(gradient, rate, out=gradient)
            weights[chunk] -= moving
            if keep_diff:
                slope[chunk] = moving


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
