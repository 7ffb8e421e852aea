"""Which pass of a net found something wrong, on a GPU."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from caffepy.engine.core.errors import NotFiniteError
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps, LiveNumbers


class CudaPassWatch(CudaOp):
    """Notes the first pass in which something was found wrong, its loss among the rest.

    where: whose loss it is, for the message.
    """

    family = "solver"

    def __init__(self, ops: DeviceOps, where: str) -> None:
        super().__init__(ops)
        self.where = where
        self._live = LiveNumbers(ops, 2, np.uint64)
        self._number = ops.watch.add(self._refuse)

    def renew(self, *, iteration: int, number: int) -> None:
        """Says which pass the next one is, in a graph too. iteration: for the message.  number: of
        the pass, from 1."""
        self._live.now[:] = iteration, number

    @step(reads="loss", adds="add_first")
    def forward(self, loss: Value, *, stop: bool, add_first: Value) -> None:
        """After a pass, which `renew` told of.

        loss: a scalar.  stop: whether nan and inf are wrong; updates then do nothing any more.
        add_first: uint64, (1,): gets the number where something is wrong, and it holds 0.
        """
        self._live.bring()
        watch = self.ops.watch.value
        self.launch("watch_pass", 1, stop, self._number, self._live.value, loss, watch, add_first)

    def _refuse(self, place: int, element: float) -> NoReturn:
        raise NotFiniteError(
            f"{self.where}: expected finite numbers in iteration {place}, got {element:g}. Its "
            "batch cannot be had again to say where they begin. Lower base_lr, or set "
            "clip_gradients."
        )
