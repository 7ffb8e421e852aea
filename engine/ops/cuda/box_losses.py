"""The losses of matched boxes on a GPU."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.box_matching import coding
from caffepy.engine.ops.cuda.loss_sums import SummingOp
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.multibox_geometry import ClassLoss, LocationLoss, MultiBox


class MatchedLoss(SummingOp):
    """Base of losses that are divided by what the normalisation says of the number of matches."""

    family = "box_losses"

    def __init__(
        self, ops: DeviceOps, geometry: MultiBox, normalization: LossNormalization
    ) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._counts = normalization.mode == "VALID"
        self._number = 0 if self._counts else normalization.divisor(0)
        self._valid = self.scratch(1)

    def divisor(self, matches: Value) -> tuple[Any, ...]:
        """For kernels: divisor and valid."""
        if self._counts:
            nothing = 1, self._valid
            count = matches.count
            self.launch_sum("count_matches", count, matches, divisor=nothing, out=self._valid)
        return self._number, self._valid


class CudaBoxLocationLoss(MatchedLoss):
    """The weighted sum of d^2 / 2, or with SMOOTH_L1 of |d| - 1/2 where |d| is 1 or more, over the
    four differences d of all matches; divided by what the normalisation says of their number."""

    def __init__(
        self,
        ops: DeviceOps,
        geometry: MultiBox,
        loss: LocationLoss,
        normalization: LossNormalization,
    ) -> None:
        super().__init__(ops, geometry, normalization)
        self._options = (
            geometry.priors,
            geometry.groups,
            geometry.location_classes,
            geometry.by_prior,
            loss.inside,
            *coding(geometry),
            loss.kind == "SMOOTH_L1",
            loss.weight,
        )

    @step(reads="locations priors truth matches", writes="out")
    def forward(
        self, locations: Value, priors: Value, truth: Value, matches: Value, *, out: Value
    ) -> None:
        """locations: (N, P, L, 4) elements.  priors: (2, P, 4) elements.  truth: (R, 8) elements.
        matches: (N, G, P) int32, rows of the truth.  out: the loss, a scalar."""
        arguments = *self._options, locations, priors, truth, matches
        divisor = self.divisor(matches)
        self.launch_sum("location_loss", matches.count, *arguments, divisor=divisor, out=out)

    @step(reads="locations priors truth matches dloss", writes="out")
    def backward(
        self,
        locations: Value,
        priors: Value,
        truth: Value,
        matches: Value,
        dloss: Value,
        *,
        out: Value,
    ) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of locations, 0
        where nothing is matched."""
        arguments = *self._options, locations, priors, truth, matches, dloss
        divisor = self.divisor(matches)
        self.launch("location_loss_backward", out.count // 4, *arguments, *divisor, out)


class CudaBoxClassLoss(MatchedLoss):
    """The sum of the cross entropy of the classes, or of its focal form, over the priors that
    count; divided by what the normalisation says of the number of matches."""

    def __init__(
        self,
        ops: DeviceOps,
        geometry: MultiBox,
        loss: ClassLoss,
        normalization: LossNormalization,
    ) -> None:
        super().__init__(ops, geometry, normalization)
        several = geometry.groups > 1 and not geometry.agnostic
        self._options = (
            geometry.classes,
            geometry.priors,
            geometry.groups,
            loss.kind == "LOGISTIC",
            several and loss.kind == "LOGISTIC",
            loss.is_focal,
            loss.alpha,
            loss.gamma,
        )

    @step(reads="scores targets matches", writes="out")
    def forward(self, scores: Value, targets: Value, matches: Value, *, out: Value) -> None:
        """scores: (N, P, C) elements; of SOFTMAX the probabilities.  targets: (N, P) int32, classes
        or C for none; less than 0 where the prior does not count.  matches: (N, G, P) int32, rows
        of the truth.  out: the loss, a scalar."""
        arguments = *self._options, scores, targets, matches
        divisor = self.divisor(matches)
        self.launch_sum("box_class_loss", targets.count, *arguments, divisor=divisor, out=out)

    @step(reads="scores targets matches dloss", writes="out")
    def backward(
        self, scores: Value, targets: Value, matches: Value, dloss: Value, *, out: Value
    ) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of the scores, of
        SOFTMAX of those that the probabilities are made of; 0 where the prior does not count."""
        arguments = *self._options, scores, targets, matches, dloss
        divisor = self.divisor(matches)
        self.launch("box_class_loss_backward", out.count, *arguments, *divisor, out)
