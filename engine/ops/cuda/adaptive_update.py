"""Updates on a GPU that scale each element's step by the gradients it had before: AdaGrad, RMSProp,
AdaDelta, Adam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.update import CudaUpdate


class CudaAdaGrad(CudaUpdate):
    """Steps divided by the root of the sum of all squared gradients."""

    rule = "adagrad"

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
        self.renew(data, rate=rate, delta=delta, scale=scale, decay=decay)
        self.change(data, diff, [history], keep_diff)

    def sent(self, numbers: Mapping[str, float]) -> Sequence[float]:
        return numbers["scale"], numbers["decay"], numbers["rate"], numbers["delta"]


class CudaRmsProp(CudaUpdate):
    """Steps divided by the root of a running mean of squared gradients."""

    rule = "rmsprop"

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
        self.renew(data, rate=rate, delta=delta, rms_decay=rms_decay, scale=scale, decay=decay)
        self.change(data, diff, [history], keep_diff)

    def sent(self, numbers: Mapping[str, float]) -> Sequence[float]:
        return (
            numbers["scale"],
            numbers["decay"],
            numbers["rate"],
            numbers["delta"],
            numbers["rms_decay"],
            1 - numbers["rms_decay"],
        )


class CudaAdaDelta(CudaUpdate):
    """Steps in the ratio of running means: earlier updates to gradients, both squared."""

    rule = "adadelta"

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
        self.renew(data, rate=rate, delta=delta, momentum=momentum, scale=scale, decay=decay)
        self.change(data, diff, [squares, updates], keep_diff)

    def sent(self, numbers: Mapping[str, float]) -> Sequence[float]:
        return (
            numbers["scale"],
            numbers["decay"],
            numbers["rate"],
            numbers["delta"],
            numbers["momentum"],
            1 - numbers["momentum"],
        )


class CudaAdam(CudaUpdate):
    """Steps along a running mean of gradients, divided by the root of one of their squares."""

    rule = "adam"

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
        self.renew(
            data,
            rate=rate,
            delta=delta,
            momentum=momentum,
            momentum2=momentum2,
            scale=scale,
            decay=decay,
            shrink=shrink,
        )
        self.change(data, diff, [mean, squares], keep_diff)

    def sent(self, numbers: Mapping[str, float]) -> Sequence[float]:
        momentum, momentum2 = numbers["momentum"], numbers["momentum2"]
        return (
            *(numbers[name] for name in ("scale", "decay", "rate", "delta")),
            *(momentum, 1 - momentum, momentum2, 1 - momentum2, numbers["shrink"]),
        )
