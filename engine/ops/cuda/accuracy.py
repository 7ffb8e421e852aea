"""Accuracy on a GPU."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.labels import DeviceLabels
from caffepy.engine.ops.cuda.loss import PairOp
from caffepy.engine.ops.cuda.loss_sums import Divisor, Total, parts_of
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.cuda.softmax import PositionOp
from caffepy.engine.ops.geometry import AxisGeometry


class CudaAccuracy(PositionOp):
    """The part of positions whose label is among the top_k best scores.

    A score as good as the label's counts as better than it, and so does one that is nan.
    """

    family = "accuracy"

    def __init__(
        self,
        ops: DeviceOps,
        geometry: AxisGeometry,
        top_k: int,
        ignore_label: int | None,
        where: str,
    ) -> None:
        """where: the layer, for messages."""
        super().__init__(ops, geometry)
        self.top_k = top_k
        self.labels = DeviceLabels(ops, geometry, ignore_label, where)
        self.divisor = Divisor(ops, self.positions or 1, ignore_label)
        self._total = Total(ops)
        self._found = self.scratch(self.positions, np.int32)
        self._parts = parts_of(self.positions)
        counts = geometry.size * self._parts
        self._hits, self._counts = self.scratch(counts), self.scratch(counts)

    @step(reads="x label", writes="out per_class")
    def forward(
        self, x: Value, label: Value, *, out: Value, per_class: Value | None = None
    ) -> None:
        """x: geometry.shape scores.  label: (outer, inner) class numbers.  out: scalar.
        per_class: (size,) the accuracy among the positions of each label, 0 where there are none.

        Raises: LabelError where a label is no class.
        """
        classes = self.labels.check(label)
        found, size, divisor = self._found, self.geometry.size, self.divisor.count(label)
        self.launch_positions("accuracy", x, *classes, self.top_k, found)
        self._total.launch(self.kernels, "count_right", self.positions, (found,), divisor, out)
        if per_class is not None:
            parts, counts = self._parts, (self._hits, self._counts)
            self.launch_rows("count_by_class", size * parts, parts, self.positions, found, *counts)
            self.launch("part_by_class", size, parts, *counts, per_class)


class CudaContrastiveAccuracy(PairOp):
    """The part of pairs whose distance is below a margin exactly when they are alike."""

    def __init__(self, ops: DeviceOps, samples: int, margin: float) -> None:
        super().__init__(ops, samples)
        self.margin = margin
        self.divisor = Divisor(ops, samples or 1).arguments

    @step(reads="a b sim", writes="out")
    def forward(self, a: Value, b: Value, sim: Value, *, out: Value) -> None:
        """a, b: (N, C) elements.  sim: (N,) elements, 1 for like pairs.  out: a scalar."""
        arguments = self.margin, self.distances(a, b), sim
        self.launch_sum(
            "contrastive_accuracy", self.samples, *arguments, divisor=self.divisor, out=out
        )
