"""Updates of parameters on numpy, the reference: what all of them share, and gradient descent.

They run elementwise in the parameter's home layout, in chunks that stay in the cache, large ones on
several threads, and allocate nothing. An update op serves all parameters of a net.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from caffepy.engine.core.aligned import aligned_zeros
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.numpy.workers import ThreadedOps

CHUNK = 1 << 17  # elements: they stay in the cache, and threads seldom wait for each other's Python
THREADED = 1 << 20  # elements: of fewer, one thread is done before others have begun

# Takes a chunk of g, scratch of its size that may change as g may, and the chunk of the weights and
# of each history value; gives what is subtracted from the weights.
Rule = Callable[..., np.ndarray]
Chunked = Callable[[slice, np.ndarray, np.ndarray], None]


class Update(Op):
    """What update rules share: the gradient that they start from.

    g = scale * diff + decay * data (decay * sign(data) with l1)
    """

    ops: ThreadedOps

    def __init__(self, ops: ThreadedOps, l1: bool = False) -> None:
        super().__init__(ops)
        self.l1 = l1
        self._scratch: list[tuple[np.ndarray, np.ndarray]] = []  # two chunks for each worker

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

        def update(chunk: slice, gradient: np.ndarray, scratch: np.ndarray) -> None:
            here, slope_here = weights[chunk], slope[chunk]
            self.gradient(here, slope_here, scale, decay, gradient, scratch)
            taken = rule(gradient, scratch, here, *(one[chunk] for one in past))
            here -= taken
            if keep_diff:
                slope_here[...] = taken

        self.in_chunks(weights.size, update)

    def in_chunks(self, count: int, work: Chunked) -> None:
        """Calls work(chunk, gradient, scratch) with the places of up to CHUNK of `count` elements
        and two arrays of their size to use."""

        def serve(worker: int, place: int) -> None:
            chunk = slice(place * CHUNK, min((place + 1) * CHUNK, count))
            size = chunk.stop - chunk.start
            gradient, scratch = self._scratch[worker]
            work(chunk, gradient[:size], scratch[:size])

        chunks = -(-count // CHUNK)
        workers = self.ops.workers.threads if count >= THREADED else 1
        while len(self._scratch) < workers:
            dtype = self.ops.dtype
            self._scratch.append((aligned_zeros(CHUNK, dtype), aligned_zeros(CHUNK, dtype)))
        if workers > 1:
            self.ops.workers.share(chunks, serve)
        else:
            for place in range(chunks):
                serve(0, place)

    def gradient(
        self,
        weights: np.ndarray,
        slope: np.ndarray,
        scale: float,
        decay: float,
        out: np.ndarray,
        scratch: np.ndarray,
    ) -> None:
        """g of some elements in `out`."""
        np.multiply(slope, scale, out=out)
        if decay:
            out += self.penalty(weights, decay, scratch)

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
        self.descend(data, diff, history, rate, momentum, scale, decay, keep_diff)

    def descend(
        self,
        data: Value,
        diff: Value,
        history: Value,
        rate: float,
        momentum: float,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> None:
        """`update`, whose rate goes into the factors of g."""

        def rule(
            gradient: np.ndarray, scratch: np.ndarray, weights: np.ndarray, velocity: np.ndarray
        ) -> np.ndarray:
            velocity *= momentum
            velocity += gradient
            return velocity

        scale, decay = scale * rate, decay * rate
        self.apply(data, diff, [history], rule, scale=scale, decay=decay, keep_diff=keep_diff)


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
            np.add(back, gradient, out=velocity)
            np.multiply(velocity, 1 + momentum, out=gradient)
            gradient -= back
            return gradient

        scale, decay = scale * rate, decay * rate
        self.apply(data, diff, [history], rule, scale=scale, decay=decay, keep_diff=keep_diff)


class LarsUpdate(SgdUpdate):
    """Gradient descent whose rate follows from the norms of a parameter and its gradient.

    norm_decay: whether the gradient's norm is that of g; else that of scale * diff.
    clip: the rate given is an upper limit, not a factor.
    """

    def __init__(
        self, ops: ThreadedOps, l1: bool = False, norm_decay: bool = False, clip: bool = False
    ) -> None:
        super().__init__(ops, l1)
        self.norm_decay = norm_decay
        self.clip = clip
        self._squares = np.empty(0)  # of each chunk, so that their sum has one order

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
        chunks = -(-weights.size // CHUNK)
        if self._squares.size < chunks:
            self._squares = np.empty(chunks)
        squares = self._squares[:chunks]
        norm_decay = decay if self.norm_decay else 0.0

        def add(chunk: slice, gradient: np.ndarray, scratch: np.ndarray) -> None:
            self.gradient(weights[chunk], slope[chunk], scale, norm_decay, gradient, scratch)
            squares[chunk.start // CHUNK] = np.dot(gradient, gradient)

        self.in_chunks(weights.size, add)
        total = squares.sum()
        local = 1.0
        if length > 0 and total > 0:
            local = trust * length / (math.sqrt(total) + denominator_decay * length)
        rate = min(rate, local) if self.clip else rate * local
        self.descend(data, diff, history, rate, momentum, scale, decay, keep_diff)


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
