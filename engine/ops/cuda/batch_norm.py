"""Batch normalisation on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda import normalised
from caffepy.engine.ops.cuda.normalise import NormaliseOp
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.batch_norm import statistic_weights


class CudaBatchNorm(NormaliseOp):
    """y = (x - mean) / sqrt(variance + eps) per channel; x seen as (samples, channels, pixels).

    x is read twice: for its statistics, and to be normalised; so are dy and x in the way back.
    Sums have one order.

    behind: the layers that run with this one.
    """

    def __init__(
        self,
        ops: DeviceOps,
        geometry: AxisGeometry,
        eps: float,
        fraction: float,
        weight: float = 1,
        unbiased: bool = True,
    ) -> None:
        """weight: that of a pass in the sums.  unbiased: for m elements per channel the variance is
        added m / (m - 1) times."""
        super().__init__(ops, *geometry.shape)
        self.geometry = geometry
        self.eps = eps
        self.fraction = fraction
        self.weights = statistic_weights(geometry, weight, unbiased)
        self.behind: normalised.MergedForward | None = None
        self._kept: Value | None = None  # x of the last forward_train, where that overwrote it

    @step(reads="x mean variance factor", writes="out mean variance factor")
    def forward_train(
        self, x: Value, mean: Value, variance: Value, factor: Value, *, out: Value
    ) -> None:
        """out: like x, normalised by its own statistics; may be x. These are added to the sums."""
        self.take_statistics(x, mean, variance, factor)
        self.normalise(x, out, self.kept_for(x, out))

    @step(reads="x mean variance factor", writes="out")
    def forward_test(
        self, x: Value, mean: Value, variance: Value, factor: Value, *, out: Value
    ) -> None:
        """out: like x, normalised by the stored statistics (0 where factor is 0); may be x."""
        self.bring_statistics(mean, variance, factor)
        self.normalise(x, out)

    @step(reads="dy x", writes="out")
    def backward_train(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x after forward_train,
        (dy - mean(dy) - mean(dy y) y) / sqrt(variance + eps); may be dy. x may be what forward
        wrote over it."""
        self.normalise_backward(dy, self.original(x), out, normal=False)

    @step(reads="dy", writes="out")
    def backward_test(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x after forward_test, dy / sqrt(variance + eps); may be dy."""
        sizes = dy.count, self.channels, self.inner
        self.launch("scale_channels", *sizes, dy, self.inverse, out)

    def merged(self, step: Step, after: Step) -> Step | None:
        """By stored statistics: Scale and ReLU in place come with it."""
        if step.method != "forward_test":
            return None
        return normalised.MergedForward(self, [step]).merged(step, after)

    def rearranged(self, before: Sequence[Step], step: Step) -> tuple[int, Sequence[Step]] | None:
        """Forward, what is before it writes x to where it is kept; backward, the gradients of
        Scale and ReLU come with it."""
        if step.method == "forward_train":
            return normalised.forward(self, before, step)
        if step.method == "backward_train":
            return normalised.backward(self, before, step)
        return None

    def take_statistics(self, x: Value, mean: Value, variance: Value, factor: Value) -> None:
        """Those of x, which are added to the sums."""
        numbers = self.eps, self.fraction, *self.weights
        self.find_statistics("batch_statistics", x, numbers, (mean, variance, factor))

    def bring_statistics(self, mean: Value, variance: Value, factor: Value) -> None:
        """The stored ones."""
        sums = mean, variance, factor
        self.launch("stored_statistics", self.channels, self.eps, *sums, self.mean, self.inverse)

    def kept_for(self, x: Value, out: Value) -> Value | None:
        """Where a forward pass from x to out is to leave x; None where it does not overwrite it."""
        if not x.shares_memory_with(out):
            self._kept = None
        elif self._kept is None or self._kept.count != x.count:
            self._kept = Value(x.shape, x.dtype)
        return self._kept

    def original(self, x: Value) -> Value:
        """The input of the last forward pass, given the value that held it."""
        return self._kept or x
