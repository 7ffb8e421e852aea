"""Updates on oneDNN that scale each element's step by the gradients it had before: AdaGrad,
RMSProp, AdaDelta, Adam."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.numpy.adaptive_update import (
    AdaDeltaUpdate,
    AdaGradUpdate,
    AdamUpdate,
    RmsPropUpdate,
)
from caffepy.engine.ops.onednn.piecewise import Plus, Root, Stage, Then
from caffepy.engine.ops.onednn.update import (
    ADD,
    DIVIDE,
    MULTIPLY,
    SUBTRACT,
    PiecewiseUpdate,
    gradient,
    root,
)


class OneDnnAdaGrad(PiecewiseUpdate, AdaGradUpdate):
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
        """As AdaGradUpdate."""
        values = {"data": data, "diff": diff, "squares": history}
        numbers = {"rate": rate, "minus rate": -rate, "delta": delta, "share": 1.0}
        if not self.run(
            _normalised, [1.0], values, numbers,
            factor=1.0, scale=scale, decay=decay, keep_diff=keep_diff,
        ):  # fmt: skip
            super().update(
                data, diff, history,
                rate=rate, delta=delta, scale=scale, decay=decay, keep_diff=keep_diff,
            )  # fmt: skip


class OneDnnRmsProp(PiecewiseUpdate, RmsPropUpdate):
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
        """As RmsPropUpdate."""
        values = {"data": data, "diff": diff, "squares": history}
        numbers = {"rate": rate, "minus rate": -rate, "delta": delta, "share": 1 - rms_decay}
        if not self.run(
            _normalised, [rms_decay], values, numbers,
            factor=1.0, scale=scale, decay=decay, keep_diff=keep_diff,
        ):  # fmt: skip
            super().update(
                data, diff, history, rate=rate, rms_decay=rms_decay, delta=delta,
                scale=scale, decay=decay, keep_diff=keep_diff,
            )  # fmt: skip


class OneDnnAdaDelta(PiecewiseUpdate, AdaDeltaUpdate):
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
        """As AdaDeltaUpdate."""
        values = {"data": data, "diff": diff, "squares": squares, "updates": updates}
        numbers = {"rate": rate, "minus rate": -rate, "delta": delta, "share": 1 - momentum}
        if not self.run(
            _in_ratio, [momentum], values, numbers,
            factor=1.0, scale=scale, decay=decay, keep_diff=keep_diff,
        ):  # fmt: skip
            super().update(
                data, diff, squares, updates, rate=rate, momentum=momentum, delta=delta,
                scale=scale, decay=decay, keep_diff=keep_diff,
            )  # fmt: skip


class OneDnnAdam(PiecewiseUpdate, AdamUpdate):
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
        """As AdamUpdate."""
        values = {"data": data, "diff": diff, "mean": mean, "squares": squares}
        numbers = {
            "rate": rate, "minus rate": -rate, "delta": delta, "shrink": shrink,
            "mean share": 1 - momentum, "share": 1 - momentum2,
        }  # fmt: skip
        if not self.run(
            _along_mean, [bool(shrink), momentum, momentum2], values, numbers,
            factor=1.0, scale=scale, decay=decay, keep_diff=keep_diff,
        ):  # fmt: skip
            super().update(
                data, diff, mean, squares, rate=rate, momentum=momentum, momentum2=momentum2,
                delta=delta, scale=scale, decay=decay, shrink=shrink, keep_diff=keep_diff,
            )  # fmt: skip


def _normalised(decayed: bool, keep_diff: bool, kept: float) -> list[Stage]:
    """AdaGrad and RMSProp: squares = kept * squares + share * g^2."""
    return [
        gradient("g", decayed),
        _blend_squares("squares", "g", kept),
        root("root", "squares", Then(ADD, "delta")),
        *_take("g", "root", keep_diff),
    ]


def _in_ratio(decayed: bool, keep_diff: bool, momentum: float) -> list[Stage]:
    """AdaDelta."""
    # Two roots: a quotient of squares may leave the range of float32.
    roots = [
        Stage(f"{name} root", name, ADD, "delta", (Root(),)) for name in ("squares", "updates")
    ]
    return [
        gradient("g", decayed),
        _blend_squares("squares", "g", momentum),
        *roots,
        Stage("g", "g", DIVIDE, "squares root", (Then(MULTIPLY, "updates root"),)),
        _blend_squares("updates", "g", momentum),
        *_take("g", None, keep_diff),
    ]


def _along_mean(
    decayed: bool, keep_diff: bool, shrinks: bool, momentum: float, momentum2: float
) -> list[Stage]:
    """Adam, and with `shrinks` AdamW."""
    return [
        gradient("g", decayed),
        Stage("mean", "g", MULTIPLY, "mean share", (Plus(momentum),)),
        _blend_squares("squares", "g", momentum2),
        root("g", "squares", Then(ADD, "delta")),
        *_take("mean", "g", keep_diff, shrinks),
    ]


def _blend_squares(squares: str, terms: str, kept: float) -> Stage:
    """squares = kept * squares + share * terms^2."""
    return Stage(squares, terms, MULTIPLY, terms, (Then(MULTIPLY, "share"), Plus(kept)))


def _take(terms: str, divisor: str | None, keep_diff: bool, shrinks: bool = False) -> list[Stage]:
    """data -= rate * terms / divisor, and with `shrinks` besides shrink * data."""

    def quotient(target: str, rate: str, *after: Plus) -> Stage:
        if divisor is None:
            return Stage(target, terms, MULTIPLY, rate, after)
        return Stage(target, terms, DIVIDE, divisor, (Then(MULTIPLY, rate), *after))

    if not keep_diff and not shrinks:
        return [quotient("data", "minus rate", Plus(1.0))]
    update = "diff" if keep_diff else "update"
    shrinking = [Stage(update, "data", MULTIPLY, "shrink", (Plus(1.0),))] * shrinks
    return [quotient(update, "rate"), *shrinking, Stage("data", "data", SUBTRACT, update)]
