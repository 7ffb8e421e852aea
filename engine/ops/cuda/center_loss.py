"""Distances of features from the centres of their classes, on a GPU."""

from __future__ import annotations

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.labels import DeviceLabels
from caffepy.engine.ops.cuda.loss_sums import Divisor, SummingOp
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.center_loss import REMEDY


class CudaCenterLoss(SummingOp):
    """sum over samples of |x - c[label]|^2 / (2 N).

    x: (N, K) elements.  c: the centres, (classes, K).  label: (N,) elements.
    """

    family = "center_loss"

    def __init__(
        self, ops: DeviceOps, samples: int, classes: int, size: int, where: str, weight: float
    ) -> None:
        """samples: N.  size: K.  where: the layer, for messages.  weight: that of the loss."""
        super().__init__(ops)
        self.samples = samples
        geometry = AxisGeometry(samples, classes, 1)
        self.labels = DeviceLabels(ops, geometry, None, where, "label", REMEDY)
        self.divisor = Divisor(ops, 2 * samples or 1).arguments
        self._sizes = classes, size
        self._weight = weight if ops.scales_loss else 0

    @step(reads="x label c", writes="out")
    def forward(self, x: Value, label: Value, c: Value, *, out: Value) -> None:
        """out: the loss, a scalar. Raises: LabelError where a label is no class."""
        arguments = *self._sizes, x, c, *self.labels.check(label)
        self.launch_sum("center_loss", x.count, *arguments, divisor=self.divisor, out=out)

    @step(reads="x label c dloss", writes="out")
    def backward_data(self, x: Value, label: Value, c: Value, dloss: Value, *, out: Value) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of x, (x - c) / N
        weighted."""
        arguments = *self._sizes, x, c, *self.labels.check(label), dloss, self.samples or 1, out
        self.launch("center_loss_backward", x.count, *arguments)

    @step(reads="x label c dloss", adds="add_c")
    def backward_params(
        self, x: Value, label: Value, c: Value, dloss: Value, *, add_c: Value
    ) -> None:
        """Adds for each class the sum of c - x over its n samples, divided by n + 1; on a backend
        that scales losses so many times as dloss is the loss weight."""
        arguments = *self._sizes, x, c, *self.labels.check(label), dloss, self._weight, add_c
        self.launch_rows("add_center_pulls", self.samples, *arguments)
