"""The absolute value on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp


class CudaAbsolute(CudaOp):
    """|x|; the gradient at 0 is 0."""

    family = "activation"

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: like x, not x."""
        self.launch("absolute_forward", x.count, x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, not dy."""
        self.launch("absolute_backward", x.count, dy, x, out)
