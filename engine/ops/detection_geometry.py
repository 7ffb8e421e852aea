"""What DetectionOutput is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DetectionGeometry:
    """Boxes of some of many priors, for each image and class.

    images, priors, classes: how many.  background: the class without boxes, -1: there is none.
    shared: whether a prior has one location for all classes.
    code_type, variance_encoded_in_target: how locations are written, see `numpy/boxes.py`.
    threshold: scores are above it.  top_k: of the best in each image and class; -1: all.
    nms_threshold, eta: suppression takes boxes that overlap a better one more than the threshold,
    which is multiplied by eta after each box that stays while it is above 0.5 and eta below 1.
    keep_top_k: the best of an image stay; -1: all.
    """

    images: int
    priors: int
    classes: int
    background: int
    shared: bool
    code_type: str
    variance_encoded_in_target: bool
    threshold: float
    top_k: int
    nms_threshold: float
    eta: float
    keep_top_k: int

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes with boxes."""
        return tuple(label for label in range(self.classes) if label != self.background)

    @property
    def groups(self) -> int:
        """The pairs of an image and a class with boxes: `labels` of the first image first."""
        return self.images * len(self.labels)

    @property
    def most(self) -> int:
        """The number of candidates in a group, at most."""
        return self.priors if self.top_k < 0 else min(self.priors, self.top_k)
