"""Matching boxes with the truth on a GPU."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.labels import CheckedOnDevice
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.multibox_geometry import ROW, Matching, MultiBox
from caffepy.engine.ops.numpy.box_matching import TruthReader

CODES = "CORNER", "CENTER_SIZE", "CORNER_SIZE"  # as boxes.cuh counts them


def coding(geometry: MultiBox) -> tuple[Any, ...]:
    """For kernels: code, in_target."""
    return CODES.index(geometry.code_type), geometry.variance_in_target


class CudaMatchBoxes(CudaOp):
    """The row of the truth that each prior stands for.

    Of all pairs of a row and a box that overlap, those that overlap most are matched first, each
    row and box once; of equal ones that with the lower prior, then the lower row. Then other boxes
    may find their best row.
    """

    family = "box_matching"

    def __init__(self, ops: DeviceOps, geometry: MultiBox, matching: Matching, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self.matching = matching
        make = functools.partial(TruthReader, geometry, matching, where)
        self._truth = CheckedOnDevice(ops, make, (1, 1, 1, ROW))
        self._spans = self.scratch(2 * geometry.images, np.int32)

    @step(reads="locations priors truth", writes="out")
    def forward(self, locations: Value, priors: Value, truth: Value, *, out: Value) -> None:
        """locations: (N, P, L, 4) elements.  priors: (2, P, 4) elements, boxes and variances.
        truth: (R, 8) elements.  out: (N, G, P) int32, rows of the truth, FREE or IGNORED; all of an
        image without boxes is IGNORED.

        Raises: LabelError where a row of the truth is of no image or class, or has nan.
        """
        geometry, matching = self.geometry, self.matching
        images, rows, priors_count = geometry.images, truth.count // ROW, geometry.priors
        truth, *told = self._truth.check(truth)
        overlaps = self._take("box_overlaps", rows * priors_count)
        owner, best = (self._take(name, rows, np.int32) for name in ("box_owner", "box_best"))
        most = self._take("box_most", rows)
        limit = geometry.classes if matching.limits_classes else math.inf
        row_classes = limit, geometry.background, matching.skips_difficult
        self.launch("row_images", rows, images, *row_classes, truth, *told, owner)
        self.launch("image_spans", images, rows, owner, self._spans)
        boxes = (
            geometry.location_classes,
            geometry.by_prior,
            matching.skips_crossing,
            *coding(geometry),
            locations,
            priors,
        )
        self.launch(
            "box_overlaps", rows * priors_count, priors_count, *boxes, truth, owner, overlaps
        )
        self.launch_rows("best_priors", rows, priors_count, overlaps, best, most)
        groups = geometry.groups
        self.launch("begin_matches", out.count, priors_count, groups, *boxes, self._spans, out)
        found = truth, owner, self._spans, overlaps
        pairs = *found, best, most, out
        self.launch_rows("match_best", images, rows, priors_count, groups, *pairs)
        limits = matching.per_prediction, matching.threshold, matching.most
        self.launch("match_rest", out.count, priors_count, groups, *limits, *found, out)

    def _take(self, name: str, count: int, dtype: Any = None) -> Value:
        """Workspace for the rows of this batch: of other batches it may be too small."""
        self.ops.workspace.reserve(name, max(1, count), dtype)
        return self.ops.workspace.take(name)
