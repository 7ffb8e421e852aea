"""Updates on numpy that scale each element's step by the gradients it had before: AdaGrad, RMSProp,
AdaDelta, Adam."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.numpy.update import Update


class AdaGradUpdate(Update):
    """Steps divided by the root of the sum of all squared gradients."""

    @step(reads="data diff history", writes="data diff history")
    def update(
        self,
        data: Value,
        diff: Value,
        history: Value,
        *,
        rate: float,
        delta: float,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> None:
        """history += g^2; update = rate * g / (sqrt(history) + delta); data -= update;
        keep_diff: diff = update."""

        def rule(
            gradient: np.ndarray, scratch: np.ndarray, weights: np.ndarray, squares: np.ndarray
        ) -> np.ndarray:
            squares += np.multiply(gradient, gradient, out=scratch)
            return _normalised(gradient, squares, rate, delta, scratch)

        self.apply(data, diff, [history], rule, scale=scale, decay=decay, keep_diff=keep_diff)


class RmsPropUpdate(Update):
    """Steps divided by the root of a running mean of squared gradients."""

    @step(reads="data diff history", writes="data diff history")
    def update(
        self,
        data: Value,
        diff: Value,
        history: Value,
        *,
        rate: float,
        rms_decay: float,
        delta: float,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> None:
        """history = rms_decay * history + (1 - rms_decay) * g^2;
        update = rate * g / (sqrt(history) + delta); data -= update; keep_diff: diff = update."""

        def rule(
            gradient: np.ndarray, scratch: np.ndarray, weights: np.ndarray, squares: np.ndarray
        ) -> np.ndarray:
            _blend_squares(squares, gradient, rms_decay, scratch)
            return _normalised(gradient, squares, rate, delta, scratch)

        self.apply(data, diff, [history], rule, scale=scale, decay=decay, keep_diff=keep_diff)


class AdaDeltaUpdate(Update):
    """Steps in the ratio of running means: earlier updates to gradients, both squared."""

    @step(reads="data diff squares updates", writes="data diff squares updates")
    def update(
        self,
        data: Value,
        diff: Value,
        squares: Value,
        updates: Value,
        *,
        rate: float,
        momentum: float,
        delta: float,
        scale: float,
        decay: float,
        keep_diff: bool,
    ) -> None:
        """squares = momentum * squares + (1 - momentum) * g^2;
        u = g * sqrt((updates + delta) / (squares + delta));
        updates = momentum * updates + (1 - momentum) * u^2; data -= rate * u;
        keep_diff: diff = rate * u."""

        def rule(
            gradient: np.ndarray,
            scratch: np.ndarray,
            weights: np.ndarray,
            squares: np.ndarray,
            updates: np.ndarray,
        ) -> np.ndarray:
            _blend_squares(squares, gradient, momentum, scratch)
            # Two roots: a quotient of squares may leave the range of float32.
            np.sqrt(np.add(squares, delta, out=scratch), out=scratch)
            gradient /= scratch
            np.sqrt(np.add(updates, delta, out=scratch), out=scratch)
            gradient *= scratch
            _blend_squares(updates, gradient, momentum, scratch)
            gradient *= rate
            return gradient

        self.apply(
            data, diff, [squares, updates], rule, scale=scale, decay=decay, keep_diff=keep_diff
        )


class AdamUpdate(Update):
    """Steps along a running mean of gradients, divided by the root of one of their squares."""

    @step(reads="data diff mean squares", writes="data diff mean squares")
    def update(
        self,
        data: Value,
        diff: Value,
        mean: Value,
        squares: Value,
        *,
        rate: float,
        momentum: float,
        momentum2: float,
        delta: float,
        scale: float,
        decay: float,
        shrink: float,
        keep_diff: bool,
    ) -> None:
        """mean = momentum * mean + (1 - momentum) * g;
        squares = momentum2 * squares + (1 - momentum2) * g^2;
        update = rate * mean / (sqrt(squares) + delta) + shrink * data (its sign with l1);
        data -= update; keep_diff: diff = update."""

        def rule(
            gradient: np.ndarray,
            scratch: np.ndarray,
            weights: np.ndarray,
            mean: np.ndarray,
            squares: np.ndarray,
        ) -> np.ndarray:
            mean *= momentum
            mean += np.multiply(gradient, 1 - momentum, out=scratch)
            _blend_squares(squares, gradient, momentum2, scratch)
            np.copyto(gradient, mean)
            update = _normalised(gradient, squares, rate, delta, scratch)
            if shrink:
                update += self.penalty(weights, shrink, scratch)
            return update

        self.apply(data, diff, [mean, squares], rule, scale=scale, decay=decay, keep_diff=keep_diff)


def _blend_squares(
    squares: np.ndarray, terms: np.ndarray, keep: float, scratch: np.ndarray
) -> None:
    """squares = keep * squares + (1 - keep) * terms^2."""
    np.multiply(terms, terms, out=scratch)
    scratch *= 1 - keep
    squares *= keep
    squares += scratch


def _normalised(
    terms: np.ndarray, squares: np.ndarray, rate: float, delta: float, scratch: np.ndarray
) -> np.ndarray:
    """terms = rate * terms / (sqrt(squares) + delta)."""
    np.sqrt(squares, out=scratch)
    scratch += delta
    terms /= scratch
    terms *= rate
    return terms
