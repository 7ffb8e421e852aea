"""The loss scale on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from caffepy.engine.core.errors import NotFiniteError
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps, LiveNumbers

BEGIN = 2.0**16
INTERVAL = 2000  # updates with finite gradients, until the scale doubles
LEAST, MOST = 2.0**-16, 2.0**100


class CudaLossScale(CudaOp):
    """A power of 2 that gradients are multiplied by on their way through 16 bits.

    It begins at BEGIN, is halved where a gradient is nan or inf, whose update is skipped, and
    doubles after INTERVAL updates without. The host waits for none of this.

    where: whose gradients they are, for messages.

    Attributes: state, (3,) float64: the scale, the updates since it changed, those skipped.
    factor, (1,): what updates multiply gradients by, 1 / scale; 0: they do nothing.

    Source: P. Micikevicius et al., "Mixed precision training", 2018.
    """

    family = "loss_scale"

    def __init__(self, ops: DeviceOps, where: str) -> None:
        super().__init__(ops)
        self.where = where
        self.state = Value((3,), np.float64)
        self.state.write()[...] = BEGIN, 0, 0
        self.factor = self.scratch(1)
        self._found = self.scratch(1, np.uint32)
        self._iteration = LiveNumbers(ops, 1, np.uint64)
        self._number = ops.watch.add(self._refuse)

    @step(writes="out")
    def forward(self, weight: float, *, out: Value) -> None:
        """out: the gradient of a top with a loss weight: weight * scale."""
        self.launch("scaled_loss", out.count, weight, self.state, out)

    def renew(self, iteration: int) -> None:
        """Sets the iteration of the next `judge`, for messages; it may be in a graph."""
        self._iteration.now[0] = iteration

    @step(reads="diffs")
    def judge(self, diffs: Sequence[Value], *, stop: bool) -> None:
        """Looks at all gradients of an iteration, and sets `factor` and the next scale.

        stop: whether nan and inf that halving does not cure are wrong; updates then do nothing any
        more.
        """
        self._iteration.bring()
        for diff in diffs:
            self.launch("find_overflow", diff.count, diff, self._found)
        self.launch(
            "settle", 1, INTERVAL, LEAST, MOST, stop, self._number, self._iteration.value,
            self._found, self.state, self.ops.watch.value, self.factor,
        )  # fmt: skip

    def _refuse(self, place: int, element: float) -> NoReturn:
        raise NotFiniteError(
            f"{self.where}: expected finite gradients in iteration {place}, got nan or inf with "
            f"any loss scale down to {element:g}. Lower base_lr or the loss weights, or choose "
            "--precision bf16."
        )
