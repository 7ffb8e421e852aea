"""Accuracy on numpy: the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.labels import LabelReader
from caffepy.engine.ops.numpy.loss import pair_differences


class Accuracy(Op):
    """The part of positions whose label is among the top_k best scores.

    A score as good as the label's counts as better than it, and so does one that is nan.
    """

    def __init__(
        self, ops: Ops, geometry: AxisGeometry, top_k: int, ignore_label: int | None, where: str
    ) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.top_k = top_k
        self.labels = LabelReader(geometry, ignore_label, where)

    @step(reads="x label", writes="out per_class")
    def forward(
        self, x: Value, label: Value, *, out: Value, per_class: Value | None = None
    ) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  out: scalar.
        per_class: (size,) the accuracy among the positions of each label, 0 where there are none.

        Raises: LabelError where a label is no class.
        """
        classes, counted = self.labels.read(label)
        scores = x.read().reshape(self.geometry.shape)
        own = np.take_along_axis(scores, classes[:, None], axis=1)  # (outer, 1, inner)
        better = np.count_nonzero(~(scores < own), axis=1) - 1  # without the label's own score
        right = (better < self.top_k) & counted
        out.write()[...] = _part(right.sum(), counted.sum())
        if per_class is not None:
            hits = np.bincount(classes[right], minlength=self.geometry.size)
            per_class.write()[...] = _part(
                hits, np.bincount(classes[counted], minlength=self.geometry.size)
            )


def _part(hits: Any, of: Any) -> Any:
    """hits / of, 0 where there are none."""
    return hits / np.maximum(of, 1)


class ContrastiveAccuracy(Op):
    """The part of pairs whose distance is below a margin exactly when they are alike."""

    def __init__(self, ops: Ops, samples: int, margin: float) -> None:
        super().__init__(ops)
        self.samples = samples
        self.margin = ops.dtype.type(margin)

    @step(reads="a b sim", writes="out")
    def forward(self, a: Value, b: Value, sim: Value, *, out: Value) -> None:
        """a, b: (N, C) elements.  sim: (N,) elements, 1 for like pairs.  out: a scalar."""
        _, squared = pair_differences(a, b, self.samples)
        right = (np.sqrt(squared) < self.margin) == (sim.read().reshape(-1) == 1)
        out.write()[...] = _part(np.count_nonzero(right), self.samples)
