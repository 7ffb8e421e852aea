"""The losses of matched boxes on numpy: the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caffepy.engine.core.loss import LossNormalization
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.multibox_geometry import ROW, ClassLoss, LocationLoss, MultiBox
from caffepy.engine.ops.numpy import boxes
from caffepy.engine.ops.numpy.box_matching import COORDINATES, classes_of, predicted_boxes
from caffepy.engine.ops.numpy.focal_loss import focal_losses, focal_slopes
from caffepy.engine.ops.numpy.softmax_loss import SMALLEST


def count_matches(matches: Value) -> int:
    """matches: rows of the truth, or less than 0."""
    return int(np.count_nonzero(matches.read() >= 0))


def logistic_losses(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The cross entropy of the sigmoid of each score; targets: 0 or 1, of the same shape."""
    losses: np.ndarray = np.maximum(scores, 0) - scores * targets
    losses += np.log1p(np.exp(-np.abs(scores)))
    return losses


@dataclass(frozen=True)
class Differences:
    """Of M matches. images, priors, places: (M,), where their locations are.  values: (M, 4), the
    locations less what they should be.  slopes: (M, 4), their derivatives by the locations."""

    images: np.ndarray
    priors: np.ndarray
    places: np.ndarray
    values: np.ndarray
    slopes: np.ndarray


def location_differences(
    geometry: MultiBox,
    inside: bool,
    locations: Value,
    priors: Value,
    truth: Value,
    matches: Value,
) -> Differences:
    """inside: sides of matched boxes that lie outside of the image do not count."""
    found = matches.read().reshape(geometry.images, geometry.groups, geometry.priors)
    images, groups, places = np.nonzero(found >= 0)
    rows = found[images, groups, places]
    classes = np.zeros_like(rows) if geometry.shared else classes_of(truth)[rows]
    prior, variance = (array[places] for array in priors.read().reshape(2, geometry.priors, 4))
    wanted = boxes.encode(
        prior,
        variance,
        truth.read().reshape(-1, ROW)[rows, COORDINATES],
        geometry.code_type,
        geometry.variance_in_target,
    )
    given = locations.read().reshape(geometry.locations_shape)
    values = given[images, places, classes] - wanted
    slopes = np.ones_like(values)
    if geometry.variance_in_target:
        slopes /= variance
        values *= slopes
    if inside:
        matched = prior
        if not geometry.by_prior:
            matched = np.empty_like(prior)
            for image in np.unique(images):
                own = images == image
                predicted = predicted_boxes(geometry, image, locations, priors)
                matched[own] = predicted[places[own], classes[own]]
        outside = (matched < 0) | (matched > 1)
        values[outside] = 0
        slopes[outside] = 0
    return Differences(images, places, classes, values, slopes)


def location_losses(kind: str, values: np.ndarray) -> np.ndarray:
    """The loss of each difference."""
    squares: np.ndarray = values * values / 2
    if kind == "L2":
        return squares
    sizes = np.abs(values)
    return np.where(sizes < 1, squares, sizes - values.dtype.type(0.5))


class BoxLocationLoss(Op):
    """The weighted sum of d^2 / 2, or with SMOOTH_L1 of |d| - 1/2 where |d| is 1 or more, over the
    four differences d of all matches; divided by what the normalisation says of their number."""

    def __init__(
        self, ops: Ops, geometry: MultiBox, loss: LocationLoss, normalization: LossNormalization
    ) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self.loss = loss
        self.normalization = normalization

    @step(reads="locations priors truth matches", writes="out")
    def forward(
        self, locations: Value, priors: Value, truth: Value, matches: Value, *, out: Value
    ) -> None:
        """locations: (N, P, L, 4) elements.  priors: (2, P, 4) elements.  truth: (R, 8) elements.
        matches: (N, G, P) int32, rows of the truth.  out: the loss, a scalar."""
        found = self._differences(locations, priors, truth, matches)
        losses = location_losses(self.loss.kind, found.values)
        out.write()[...] = losses.sum() * (self.loss.weight / self._divisor(matches))

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
        found = self._differences(locations, priors, truth, matches)
        values = found.values
        if self.loss.kind == "SMOOTH_L1":
            values = np.clip(values, -1, 1)
        weight = dloss.read() * (self.loss.weight / self._divisor(matches))
        gradient = out.write().reshape(self.geometry.locations_shape)
        gradient.fill(0)
        gradient[found.images, found.priors, found.places] = values * found.slopes * weight

    def _differences(self, *values: Value) -> Differences:
        return location_differences(self.geometry, self.loss.inside, *values)

    def _divisor(self, matches: Value) -> float:
        return self.normalization.divisor(count_matches(matches))


class BoxClassLoss(Op):
    """The sum of the cross entropy of the classes, or of its focal form, over the priors that
    count; divided by what the normalisation says of the number of matches."""

    def __init__(
        self, ops: Ops, geometry: MultiBox, loss: ClassLoss, normalization: LossNormalization
    ) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self.loss = loss
        self.normalization = normalization

    @step(reads="scores targets matches", writes="out")
    def forward(self, scores: Value, targets: Value, matches: Value, *, out: Value) -> None:
        """scores: (N, P, C) elements; of SOFTMAX the probabilities.  targets: (N, P) int32, classes
        or C for none; less than 0 where the prior does not count.  matches: (N, G, P) int32, rows
        of the truth.  out: the loss, a scalar."""
        counted, classes = self._counted(targets)
        rows = scores.read().reshape(-1, self.geometry.classes)
        if self.loss.kind == "LOGISTIC":
            losses = logistic_losses(rows[counted], self._wanted(counted, classes, matches))
        else:
            losses = self._softmax_losses(rows[counted, classes])
        out.write()[...] = losses.sum() / self._divisor(matches)

    @step(reads="scores targets matches dloss", writes="out")
    def backward(
        self, scores: Value, targets: Value, matches: Value, dloss: Value, *, out: Value
    ) -> None:
        """dloss: the gradient of the loss, a scalar: its weight.  out: gradient of the scores, of
        SOFTMAX of those that the probabilities are made of; 0 where the prior does not count."""
        counted, classes = self._counted(targets)
        given = scores.read().reshape(-1, self.geometry.classes)[counted]
        if self.loss.kind == "LOGISTIC":
            chosen = 1 / (1 + np.exp(-given))
            chosen -= self._wanted(counted, classes, matches)
        else:
            own = np.arange(counted.size), classes
            chosen = given.copy()
            chosen[own] -= 1
            if self.loss.is_focal:
                slopes = focal_slopes(given[own], self.loss.alpha, self.loss.gamma)
                chosen *= -slopes[:, None]
        chosen *= dloss.read() / self._divisor(matches)
        gradient = out.write().reshape(-1, self.geometry.classes)
        gradient.fill(0)
        gradient[counted] = chosen

    def _softmax_losses(self, p: np.ndarray) -> np.ndarray:
        """p: of the classes that are right."""
        if self.loss.is_focal:
            return focal_losses(p, self.loss.alpha, self.loss.gamma)
        losses: np.ndarray = -np.log(np.maximum(p, SMALLEST))
        return losses

    @staticmethod
    def _counted(targets: Value) -> tuple[np.ndarray, np.ndarray]:
        """(K,) which of all N P priors count, and (K,) their classes."""
        classes = targets.read().reshape(-1)
        counted = np.flatnonzero(classes >= 0)
        return counted, classes[counted]

    def _wanted(self, counted: np.ndarray, classes: np.ndarray, matches: Value) -> np.ndarray:
        """(K, C) 1 where a class is right, else 0. A prior may be right for several classes where
        each is matched for itself."""
        geometry = self.geometry
        if geometry.groups > 1 and not geometry.agnostic:
            found = matches.read().reshape(geometry.images, geometry.groups, geometry.priors) >= 0
            several = found.swapaxes(1, 2).reshape(-1, geometry.classes)[counted]
            wanted: np.ndarray = several.astype(self.ops.dtype)
            return wanted
        wanted = np.zeros((counted.size, geometry.classes), self.ops.dtype)
        some = np.flatnonzero(classes < geometry.classes)
        wanted[some, classes[some]] = 1
        return wanted

    def _divisor(self, matches: Value) -> float:
        return self.normalization.divisor(count_matches(matches))
