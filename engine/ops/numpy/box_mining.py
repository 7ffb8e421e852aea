"""Mining of the priors that count, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.multibox_geometry import LocationLoss, Mining, MultiBox, Suppression
from caffepy.engine.ops.numpy import boxes
from caffepy.engine.ops.numpy.box_losses import (
    location_differences,
    location_losses,
    logistic_losses,
)
from caffepy.engine.ops.numpy.box_matching import classes_of, predicted_boxes
from caffepy.engine.ops.numpy.ordering import largest
from caffepy.engine.ops.numpy.softmax_loss import SMALLEST

LEAST_AREA = 1e-5  # of boxes that pass the suppression: SSD's constant


class MineBoxes(Op):
    """The class that each prior should be, or that it does not count.

    How hard a prior is: its cross entropy, with HARD_EXAMPLE that of its location besides. nan is
    hardest; of equal ones the lower prior counts.
    """

    def __init__(
        self,
        ops: Ops,
        geometry: MultiBox,
        mining: Mining,
        logistic: bool,
        location_loss: LocationLoss,
    ) -> None:
        """logistic: the scores go through a sigmoid.  location_loss: that of the matches, of which
        the weight does not count."""
        super().__init__(ops)
        self.geometry = geometry
        self.mining = mining
        self.logistic = logistic
        self.location_loss = location_loss

    @step(reads="locations scores priors truth matches", writes="matches out")
    def forward(
        self,
        locations: Value,
        scores: Value,
        priors: Value,
        truth: Value,
        *,
        matches: Value,
        out: Value,
    ) -> None:
        """locations: (N, P, L, 4) elements.  scores: (N, P, C) elements; probabilities where they
        are not logistic.  priors: (2, P, 4) elements.  truth: (R, 8) elements.  matches: (N, G, P)
        int32, rows of the truth; with HARD_EXAMPLE those that are not mined become FREE.  out:
        (N, P) int32, classes or C for none; -1 where the prior does not count."""
        targets = out.write()
        classes = classes_of(truth)
        if self.mining.kind == "NONE":
            self._take_all(matches.read(), classes, targets)
            return
        geometry = self.geometry
        found = matches.modify().reshape(geometry.images, geometry.priors)
        hardness = self._hardness(locations, scores, priors, truth, matches, found, classes)
        for image in range(geometry.images):
            chosen = self._choose(image, hardness[image], found[image], locations, priors)
            matched = found[image] >= 0
            if self.mining.kind == "HARD_EXAMPLE":
                found[image, matched & ~chosen] = geometry.FREE
                matched &= chosen
            own = targets[image]
            own.fill(-1)
            own[chosen & (found[image] == geometry.FREE)] = geometry.background_target
            own[matched] = self._target(classes[found[image, matched]])

    def _take_all(self, matches: np.ndarray, classes: np.ndarray, targets: np.ndarray) -> None:
        """Without mining: the class of the last group that a prior is matched in."""
        geometry = self.geometry
        targets.fill(geometry.classes if self.logistic else geometry.background_target)
        for group in matches.swapaxes(0, 1):
            matched = group >= 0
            targets[matched] = self._target(classes[group[matched]])

    def _target(self, classes: np.ndarray) -> np.ndarray | int:
        return self.geometry.background + 1 if self.geometry.agnostic else classes

    def _hardness(
        self,
        locations: Value,
        scores: Value,
        priors: Value,
        truth: Value,
        matches: Value,
        found: np.ndarray,
        classes: np.ndarray,
    ) -> np.ndarray:
        """(N, P).  found: matches, as an array."""
        geometry = self.geometry
        matched = found >= 0
        wanted = np.full(found.shape, geometry.background_target)
        wanted[matched] = classes[found[matched]]
        given = scores.read().reshape(*found.shape, geometry.classes)
        if self.logistic:
            hits = wanted[..., None] == np.arange(geometry.classes)
            hardness = logistic_losses(given, hits).sum(axis=2)
        else:
            p = np.take_along_axis(given, wanted[..., None], axis=2)[..., 0]
            hardness = -np.log(np.maximum(p, SMALLEST))
        if self.mining.kind == "HARD_EXAMPLE":
            loss = self.location_loss
            far = location_differences(geometry, loss.inside, locations, priors, truth, matches)
            losses = location_losses(loss.kind, far.values)
            hardness[far.images, far.priors] += losses.sum(axis=1)
        hardness[np.isnan(hardness)] = np.inf
        found_hardness: np.ndarray = hardness
        return found_hardness

    def _choose(
        self,
        image: int,
        hardness: np.ndarray,
        matches: np.ndarray,
        locations: Value,
        priors: Value,
    ) -> np.ndarray:
        """(P,) bool: the priors that are mined."""
        geometry, mining = self.geometry, self.mining
        if mining.kind == "HARD_EXAMPLE":
            candidates, most = np.arange(geometry.priors), mining.size
        else:
            candidates = np.flatnonzero(matches == geometry.FREE)
            matched = np.float32(np.count_nonzero(matches >= 0))
            most = int(min(matched * np.float32(mining.ratio), geometry.priors))
        if mining.suppression is None and most < len(candidates):
            order = candidates[largest(hardness[candidates], most)]
        else:
            order = candidates[np.argsort(-hardness[candidates], kind="stable")]
        if mining.suppression is not None and most:
            if mining.suppression.by_prior:
                compared = priors.read().reshape(2, geometry.priors, 4)[0]
            else:
                compared = predicted_boxes(geometry, image, locations, priors)[:, 0]
            order = _suppressed(mining.suppression, order, compared, most)
        chosen = np.zeros(geometry.priors, bool)
        chosen[order[:most]] = True
        return chosen


def _suppressed(
    suppression: Suppression, order: np.ndarray, compared: np.ndarray, most: int
) -> np.ndarray:
    """The first `most` of the priors `order` that none of them before covers.  compared: (P, 4)."""
    if suppression.top_k >= 0:
        order = order[: suppression.top_k]
    order = order[~(boxes.area(compared[order]) < LEAST_AREA)]
    kept: list[int] = []
    while order.size and len(kept) < most:
        kept.append(order[0])
        order = order[1:]
        covered = boxes.overlaps(compared[kept[-1:]], compared[order])[0] > suppression.threshold
        order = order[~covered]
    return np.array(kept, np.int64)
