"""Sums of whole values on oneDNN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.onednn.binding import Algorithm
from caffepy.engine.ops.onednn.flat import Elementwise, Pairwise, common_layout
from caffepy.engine.ops.onednn.port import PrimitiveOps

FEW = 1 << 10  # elements: threads take longer to agree than numpy to add them


class OneDnnSum(Op):
    """Adds values of one shape, two at a time (the library's sum of several takes twice as long);
    with one of them, a copy."""

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps) -> None:
        super().__init__(ops)
        self._copy = Elementwise(ops, Algorithm.LINEAR, 1.0)
        self._add = Pairwise(ops, Algorithm.BINARY_ADD)

    @step(reads="xs", writes="out")
    def forward(self, xs: Sequence[Value], *, out: Value) -> None:
        """out: the sum, in the order given; may be one of xs only if it is the first."""
        layout = common_layout(xs)
        arrays = [x.read(layout) for x in xs]
        target = out.write(layout)
        total, few = arrays[0], target.size <= FEW
        if len(arrays) == 1 and few:
            np.copyto(target, total)
        elif len(arrays) == 1:
            self._copy(total, target)
        for call, array in enumerate(arrays[1:]):
            if few:
                np.add(total, array, out=target)
            else:
                self._add(total, array, target, call)
            total = target
