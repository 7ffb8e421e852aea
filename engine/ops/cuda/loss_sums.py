"""Sums over many elements on a GPU: always in one order, whatever the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.kernels import Kernels

PART = 1024  # elements for a block of threads, or more
MOST_PARTS = 1024  # enough blocks to fill a GPU, few enough for one of them to add up


def parts_of(count: int) -> int:
    """How many blocks of threads share a sum of `count` elements: one for none."""
    return min(MOST_PARTS, max(1, math.ceil(count / PART)))


class Total:
    """Sums of many elements into one: a block of threads adds up each part of them, a last one adds
    up the parts."""

    def __init__(self, ops: DeviceOps) -> None:
        self._kernels = ops.kernels("loss_sums")
        self._parts = Value((MOST_PARTS,), ops.dtype)
        self._nothing = Value((1,), ops.dtype)  # for kernels, beside a divisor that is a number

    def launch(
        self,
        kernels: Kernels,
        kernel: str,
        count: int,
        arguments: Sequence[Any],
        divisor: Sequence[Any],
        out: Value,
    ) -> None:
        """out: a scalar, the sum of what a kernel adds up over `count` elements, divided.

        The kernel takes the number of parts, the count, the arguments, then divisor, valid and out,
        an element per part.
        """
        parts = parts_of(count)
        if parts == 1:
            kernels.launch_rows(kernel, 1, count, *arguments, *divisor, out)
            return
        kernels.launch_rows(kernel, parts, count, *arguments, 1, self._nothing, self._parts)
        self._kernels.launch_rows("sum", 1, parts, self._parts, *divisor, out)


class Divisor:
    """What a sum is divided by: a number, or the count of elements that are not ignored, if that is
    not below 1.

    arguments: for kernels: divisor and valid, see divisor_of in loss_sums.cuh.
    """

    def __init__(self, ops: DeviceOps, number: float, ignored: int | None = None) -> None:
        """ignored: the label that is not counted; None: the divisor is `number`."""
        self._ignored = ignored
        self._total = Total(ops)
        self._kernels = ops.kernels("loss_sums")
        self._valid = Value((1,), ops.dtype)
        self.arguments: tuple[Any, ...] = (number if ignored is None else 0), self._valid

    @classmethod
    def of(
        cls, ops: DeviceOps, normalization: LossNormalization, ignore_label: int | None
    ) -> Divisor:
        """What the normalisation of a loss says."""
        ignored = ignore_label if normalization.mode == "VALID" else None
        everything = normalization.outer * normalization.inner
        return cls(ops, normalization.divisor(everything), ignored)

    def count(self, label: Value) -> tuple[Any, ...]:
        """Before kernels that divide by it are launched; gives `arguments` for them. label: cut to
        integers, tells what is ignored."""
        if self._ignored is not None:
            arguments, divisor = (self._ignored, label), (1, self._valid)
            self._total.launch(
                self._kernels, "count_valid", label.count, arguments, divisor, self._valid
            )
        return self.arguments


class SummingOp(CudaOp):
    """Base of ops that sum over many elements."""

    def __init__(self, ops: DeviceOps) -> None:
        super().__init__(ops)
        self._total = Total(ops)

    def launch_sum(
        self, kernel: str, count: int, *arguments: Any, divisor: Sequence[Any], out: Value
    ) -> None:
        """See `Total.launch`."""
        self._total.launch(self.kernels, kernel, count, arguments, divisor, out)
