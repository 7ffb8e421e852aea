"""Geometries of MultiBoxLoss: which boxes there are, how they are matched, and what is mined.

N images with P priors each; a prior has L locations, one or one per class, and C class scores. The
truth is R rows of 8 numbers: image, class, instance, xmin, ymin, xmax, ymax, difficult. R differs
from batch to batch, so no op is made for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

ROW = 8  # numbers in a row of the truth


@dataclass(frozen=True)
class MultiBox:
    """The boxes of a batch.

    images, priors, classes: N, P, C.  shared: one location per prior, for all classes.
    by_prior: the priors are matched, not the predicted boxes.  background: its class; it may be no
    class at all.  agnostic: all objects are of the class after the background.  code_type,
    variance_in_target: see numpy/boxes.py.
    """

    # What a match is, if no row of the truth: -1, or -2 where it can be no negative either.
    FREE: ClassVar[int] = -1
    IGNORED: ClassVar[int] = -2

    images: int
    priors: int
    classes: int
    shared: bool
    by_prior: bool
    background: int
    agnostic: bool
    code_type: str
    variance_in_target: bool

    @property
    def location_classes(self) -> int:
        """L."""
        return 1 if self.shared else self.classes

    @property
    def locations_shape(self) -> tuple[int, int, int, int]:
        """(N, P, L, 4)"""
        return self.images, self.priors, self.location_classes, 4

    @property
    def groups(self) -> int:
        """G: 1, or C where the boxes of each class are matched for themselves. Matches are
        (N, G, P) rows of the truth."""
        return 1 if self.shared or self.by_prior else self.classes

    @property
    def background_target(self) -> int:
        """The class that negatives are to be; C for none."""
        return min(self.background, self.classes)


@dataclass(frozen=True)
class Matching:
    """How boxes find rows of the truth.

    per_prediction: every box whose overlap is `threshold` or more is matched, not only the best one
    of each row.  most: the overlap from which an unmatched box is IGNORED.  skips_crossing: boxes
    that leave the image are IGNORED.  skips_difficult: rows that are difficult do not count.
    limits_classes: classes from C on are refused.
    """

    per_prediction: bool
    threshold: float
    most: float
    skips_crossing: bool
    skips_difficult: bool
    limits_classes: bool


@dataclass(frozen=True)
class Suppression:
    """Of candidates that overlap by more than `threshold` the harder one stays.

    top_k: how many of the hardest are candidates; all where it is negative.  by_prior: the priors
    are compared, not the predicted boxes.
    """

    threshold: float
    top_k: int
    by_prior: bool


@dataclass(frozen=True)
class Mining:
    """Which priors count for the classes: NONE all; MAX_NEGATIVE the matched ones and `ratio` times
    as many of the hardest others; HARD_EXAMPLE the `size` hardest."""

    kind: str
    ratio: float
    size: int
    suppression: Suppression | None


@dataclass(frozen=True)
class LocationLoss:
    """kind: L2 or SMOOTH_L1.  weight: of its sum.  inside: sides of matched boxes that lie outside
    of the image do not count."""

    kind: str
    weight: float
    inside: bool


@dataclass(frozen=True)
class ClassLoss:
    """kind: SOFTMAX or LOGISTIC.  alpha, gamma: of the focal loss of a softmax; without effect at 1
    and 0."""

    kind: str
    alpha: float = 1
    gamma: float = 0

    @property
    def is_focal(self) -> bool:
        return self.kind == "SOFTMAX" and (self.alpha, self.gamma) != (1, 0)
