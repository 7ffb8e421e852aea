"""Detections among the boxes of many priors, on a GPU."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.box_matching import CODES
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.detection_geometry import DetectionGeometry
from caffepy.engine.ops.numpy.detection import best_of_images


class CudaDetectionOutput(CudaOp):
    """Picks the boxes with the highest scores that do not overlap. The host chooses the best of an
    image among those that are left: how many there are is known only then."""

    family = "detection"

    def __init__(self, ops: DeviceOps, geometry: DetectionGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        places = geometry.groups * geometry.most
        self._places = self.scratch(places, np.int32)
        self._kept = self.scratch(places, np.uint8)
        self._scores, self._highest = self.scratch(places), self.scratch(places)
        self._boxes = self.scratch(places * 4)

    def detect(self, loc: Value, conf: Value, priors: Value) -> np.ndarray:
        """loc: (images, priors, 4), or (images, priors, classes, 4) where it is not shared.
        conf: (images, priors, classes).  priors: (2, priors, 4), boxes and variances.
        All of them as that many elements in C order.

        Returns (D, 7): image, label, score and box, by image, label and falling score.
        """
        geometry, places = self.geometry, self._places
        sizes = geometry.priors, geometry.classes, geometry.background, geometry.most
        found = self._scores, self._boxes
        places.clear()
        self.launch("rank_candidates", conf.count, *sizes, geometry.threshold, conf, places)
        how = geometry.shared, CODES.index(geometry.code_type), geometry.variance_encoded_in_target
        given = places, loc, conf, priors
        self.launch("decode_candidates", places.count, *sizes, *how, *given, *found)
        limits = geometry.most, geometry.nms_threshold, geometry.eta
        parts = places, self._boxes, self._kept, self._highest
        self.launch_rows("suppress", geometry.groups, *limits, *parts)
        shape = geometry.groups, geometry.most
        return best_of_images(
            self._kept.content().reshape(shape) != 0,
            self._scores.content().reshape(shape),
            self._boxes.content().reshape(*shape, 4),
            geometry,
        )
