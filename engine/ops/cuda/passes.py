"""Which pass of a net found something wrong, on a GPU."""

from __future__ import annotations

from typing import NoReturn

from caffepy.engine.core.errors import NotFiniteError
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps


class CudaPassWatch(CudaOp):
    """Notes the first pass in which something was found wrong, its loss among the rest.

    where: whose loss it is, for the message.
    """

    family = "solver"

    def __init__(self, ops: DeviceOps, where: str) -> None:
        super().__init__(ops)
        self.where = where
        self._number = ops.watch.add(self._refuse)

    @step(reads="loss", adds="add_first")
    def forward(
        self, loss: Value, *, stop: bool, iteration: int, number: int, add_first: Value
    ) -> None:
        """After a pass.

        loss: a scalar.  stop: whether nan and inf are wrong; updates then do nothing any more.
        iteration: for the message.  number: of the pass, from 1.  add_first: uint64, (1,): gets the
        number where something is wrong, and it holds 0.
        """
        self.launch(
            "watch_pass", 1, stop, self._number, iteration, number, loss, self.ops.watch.value,
            add_first,
        )  # fmt: skip

    def _refuse(self, place: int, element: float) -> NoReturn:
        raise NotFiniteError(
            f"{self.where}: expected finite numbers in iteration {place}, got {element:g}. Its "
            "batch cannot be had again to say where they begin. Lower base_lr, or set "
            "clip_gradients."
        )
