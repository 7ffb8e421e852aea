"""Updates of parameters on a GPU: what all of them share, gradient descent, and norms.

An update is one kernel, which does nothing where something was found wrong (`Watch`): parameters
and histories then stay as they were before that iteration's update.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps, LiveNumbers

PART = 1 << 13  # elements, at least, that one block sums up; of fewer parts there is little to gain
MOST_PARTS = 1 << 10


class CudaUpdate(CudaOp):
    """What update rules share: the gradient that they start from. rule: the kernel.

    g = scale * factor * diff + decay * data (decay * sign(data) with l1)

    factor: (1,) a number on the device, 1 unless another is put in its place; where it is 0,
    nothing is changed, and what was subtracted is 0.
    """

    family = "update"
    rule: ClassVar[str]

    def __init__(self, ops: DeviceOps, l1: bool = False) -> None:
        super().__init__(ops)
        self.l1 = l1
        self.factor = self.scratch(1)
        self.factor.write()[...] = 1
        self._nothing = self.scratch(1)
        self._live: dict[int, LiveNumbers] = {}  # by the memory of the weights

    def renew(self, data: Value, **numbers: float) -> None:
        """Sets the numbers of the next update of `data`, which may be in a graph that is there
        already. numbers: those of `update`."""
        sent = self.sent(numbers)
        live = self._live.get(data.storage_id)
        if live is None:
            live = self._live[data.storage_id] = LiveNumbers(self.ops, len(sent))
        live.now[:] = sent

    def sent(self, numbers: Mapping[str, float]) -> Sequence[float]:
        """What the kernel gets of the numbers of an update."""
        raise NotImplementedError(f"{type(self).__name__}.sent")

    def numbers(self, data: Value) -> Value:
        """The numbers of the update of `data`, on the device."""
        live = self._live[data.storage_id]
        live.bring()
        return live.value

    def later(self, data: Value, diff: Value, *histories: Value) -> Step:
        """The update as a step that runs with the numbers which `renew` has set by then; diff stays
        the gradient."""
        return Step(
            functools.partial(self.change, data, diff, histories, False),
            (data, diff, *histories),
            (data, *histories),
            layer="(update)",
            name=f"{type(self).__name__}.update",
            op=self,
            method="update",
        )

    def change(
        self, data: Value, diff: Value, histories: Sequence[Value], keep_diff: bool, *others: Value
    ) -> None:
        """Runs the rule's kernel over all elements.

        keep_diff: diff gets what was subtracted.  others: its arguments after the numbers.
        """
        update = diff if keep_diff else self._nothing
        flags = self.l1, keep_diff, self.ops.watch.value, self.factor
        values = diff, update, data, *histories, self.numbers(data), *others
        self.launch(self.rule, data.count, *flags, *values)


class CudaSgd(CudaUpdate):
    """Stochastic gradient descent with momentum."""

    rule = "sgd"

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
        self.renew(data, rate=rate, momentum=momentum, scale=scale, decay=decay)
        self.change(data, diff, [history], keep_diff)

    def sent(self, numbers: Mapping[str, float]) -> Sequence[float]:
        return (
            numbers["scale"] * numbers["rate"],
            numbers["decay"] * numbers["rate"],
            numbers["momentum"],
        )


class CudaNesterov(CudaUpdate):
    """Nesterov's accelerated gradient."""

    rule = "nesterov"

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
        self.renew(data, rate=rate, momentum=momentum, scale=scale, decay=decay)
        self.change(data, diff, [history], keep_diff)

    def sent(self, numbers: Mapping[str, float]) -> Sequence[float]:
        return (
            numbers["scale"] * numbers["rate"],
            numbers["decay"] * numbers["rate"],
            numbers["momentum"],
            1 + numbers["momentum"],
        )


class CudaLars(CudaUpdate):
    """Gradient descent whose rate follows from the norms of a parameter and its gradient.

    norm_decay: whether the gradient's norm is that of g; else that of scale * diff.
    clip: the rate given is an upper limit, not a factor.
    """

    rule = "lars"

    def __init__(
        self, ops: DeviceOps, l1: bool = False, norm_decay: bool = False, clip: bool = False
    ) -> None:
        super().__init__(ops, l1)
        self.norm_decay = norm_decay
        self.clip = clip
        self._sums = self.scratch(2 * MOST_PARTS)
        self._factors = self.scratch(2, np.float64)

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
        trust: float,
        denominator_decay: float,
    ) -> None:
        """local = trust * |data| / (|gradient| + denominator_decay * |data|), 1 where one of the
        norms is 0; then CudaSgd with rate * local, or min(rate, local) with clip."""
        self.renew(
            data, rate=rate, momentum=momentum, scale=scale, decay=decay, trust=trust,
            denominator_decay=denominator_decay,
        )  # fmt: skip
        self.change(data, diff, [history], keep_diff)

    def change(
        self, data: Value, diff: Value, histories: Sequence[Value], keep_diff: bool, *others: Value
    ) -> None:
        parts, size = parts_of(data.count)
        numbers = self.numbers(data)
        self.launch_rows(
            "lars_squares", parts, size, data.count, self.l1, numbers, self.factor, data, diff,
            self._sums,
        )  # fmt: skip
        self.launch_rows("lars_factors", 1, parts, self.clip, numbers, self._sums, self._factors)
        super().change(data, diff, histories, keep_diff, self._factors)

    def sent(self, numbers: Mapping[str, float]) -> Sequence[float]:
        norm_decay = numbers["decay"] if self.norm_decay else 0.0
        return (
            numbers["scale"],
            numbers["decay"],
            numbers["momentum"],
            norm_decay,
            numbers["rate"],
            numbers["trust"],
            numbers["denominator_decay"],
        )


class CudaSumOfSquares(CudaOp):
    """The squared L2 norm of several values together."""

    family = "update"

    def __init__(self, ops: DeviceOps) -> None:
        super().__init__(ops)
        self._sums = self.scratch(1)

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """out: a scalar."""
        split = [parts_of(x.count) for x in xs]
        total = sum(parts for parts, _ in split)
        if self._sums.count < total:
            self._sums = self.scratch(total)
        first = 0
        for x, (parts, size) in zip(xs, split, strict=True):
            self.launch_rows("squares", parts, size, x.count, first, x, self._sums)
            first += parts
        self.launch_rows("total", 1, total, self._sums, out)


def parts_of(count: int) -> tuple[int, int]:
    """Into how many parts of which size elements are split for a sum."""
    parts = min(-(-count // PART), MOST_PARTS)
    return parts, -(-count // parts) if parts else 0
