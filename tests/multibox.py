"""MultiBoxLoss written once more, plainly: loops over images, priors and rows in Python's floats.

Also batches that it is tried on: priors all over the image, and boxes that lie near some of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from caffepy.engine.ops.base import Ops
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import LayerParameter, MultiBoxLossParameter, PriorBoxParameter
from tests.harness import make_layer
from tests.losses import SMALLEST, softmax

Box = Sequence[float]
RTOL, ATOL = 2e-4, 2e-5  # float32 against float64
L2, LOGISTIC = MultiBoxLossParameter.L2, MultiBoxLossParameter.LOGISTIC
NONE, HARD = MultiBoxLossParameter.NONE, MultiBoxLossParameter.HARD_EXAMPLE


@dataclass
class Batch:
    """locations: (N, P L 4).  scores: (N, P C).  priors: (1, 2, P 4).  truth: (1, 1, R, 8)."""

    locations: np.ndarray
    scores: np.ndarray
    priors: np.ndarray
    truth: np.ndarray

    @property
    def bottoms(self) -> list[np.ndarray]:
        return [self.locations, self.scores, self.priors, self.truth]


def batch(
    seed: int,
    images: int = 3,
    priors: int = 24,
    classes: int = 4,
    rows: int = 7,
    shared: bool = True,
    background: int = 0,
) -> Batch:
    """The last image has no box, rows are shuffled, some are empty and some difficult."""
    random = np.random.default_rng(seed)
    corners = random.uniform(-0.1, 0.7, (priors, 2))
    boxes = np.concatenate((corners, corners + random.uniform(0.15, 0.5, (priors, 2))), 1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], (priors, 1))
    truth = np.zeros((rows, 8))
    truth[:, 0] = random.integers(0, max(1, images - 1), rows)
    objects = [label for label in range(classes) if label != background]
    truth[:, 1] = random.choice(objects, rows)
    truth[:, 3:7] = boxes[random.integers(0, priors, rows)] + random.normal(0, 0.04, (rows, 4))
    truth[:, 7] = random.random(rows) < 0.3
    truth[random.random(rows) < 0.15] = -1
    located = priors * (1 if shared else classes) * 4
    return Batch(
        *(
            array.astype(np.float32)
            for array in (
                random.normal(0, 0.7, (images, located)),
                random.normal(0, 1.5, (images, priors * classes)),
                np.stack((boxes, variances)).reshape(1, 2, -1),
                truth.reshape(1, 1, rows, 8),
            )
        )
    )


@dataclass
class Expected:
    """loss, and the gradients of locations and scores, of the shapes of a batch."""

    loss: float
    locations: np.ndarray
    scores: np.ndarray


@dataclass
class _Match:
    """What is known of one image. matched: rows by (group, prior).  out: priors that leave the
    image."""

    rows: list[int]
    matched: dict[tuple[int, int], int] = field(default_factory=dict)
    out: set[int] = field(default_factory=set)
    best: dict[int, float] = field(default_factory=dict)


class Plain:
    """The loss of one batch. fields: the inside of a `layer { }` block."""

    def __init__(self, fields: str, given: Batch) -> None:
        layer = text.parse(f'name: "layer" {fields}', LayerParameter)
        self.param = param = layer.multibox_loss_param
        self.layer = layer
        self.classes = param.num_classes
        self.images = len(given.locations)
        self.priors = given.priors.size // 8
        self.spread = 1 if param.share_location else self.classes
        self.located = given.locations.reshape(self.images, self.priors, self.spread, 4).tolist()
        self.scored = given.scores.reshape(self.images, self.priors, self.classes).tolist()
        self.boxes, self.variances = given.priors.reshape(2, self.priors, 4).tolist()
        self.rows = given.truth.reshape(-1, 8).tolist()
        focal = layer.type == "MultiBoxFocalLoss"
        self.alpha = layer.focal_loss_param.alpha if focal else 1.0
        self.gamma = layer.focal_loss_param.gamma if focal else 0.0
        self.given = given

    def compute(self) -> Expected:
        param = self.param
        found = [self._match(image) for image in range(self.images)]
        negatives = [self._mine(image, one) for image, one in enumerate(found)]
        matches = sum(len(one.matched) for one in found)
        mode = self.layer.loss_param.NormalizationMode.Name(self.layer.loss_param.normalization)
        sizes = {"FULL": self.images * self.priors, "VALID": matches, "BATCH_SIZE": self.images}
        divisor = max(1, sizes.get(mode, 1))
        loss = 0.0
        locations = np.zeros((self.images, self.priors, self.spread, 4))
        scores = np.zeros((self.images, self.priors, self.classes))
        for image, one in enumerate(found):
            for (group, prior), row in one.matched.items():
                values, slopes = self._differences(image, group, prior, row)
                for side in range(4):
                    part, slope = self._distance(values[side])
                    loss += param.loc_weight * part
                    locations[image, prior, group, side] = param.loc_weight * slope * slopes[side]
            for prior in range(self.priors):
                rows = [row for (_, place), row in sorted(one.matched.items()) if place == prior]
                targets = [self._target(row) for row in rows]
                if not targets and param.mining_type == NONE:
                    if param.conf_loss_type != LOGISTIC:
                        targets = [param.background_label_id]
                elif not targets:
                    if prior not in negatives[image]:
                        continue
                    targets = [param.background_label_id]
                part, slopes = self._class_loss(self.scored[image][prior], targets)
                loss += part
                scores[image, prior] = slopes
        return Expected(
            loss / divisor,
            locations.reshape(self.given.locations.shape) / divisor,
            scores.reshape(self.given.scores.shape) / divisor,
        )

    # ---- boxes

    def _decode(self, image: int, group: int, prior: int) -> list[float]:
        param, (xmin, ymin, xmax, ymax) = self.param, self.boxes[prior]
        variance = [1.0] * 4 if param.encode_variance_in_target else self.variances[prior]
        t = [x * v for x, v in zip(self.located[image][prior][group], variance, strict=True)]
        width, height = xmax - xmin, ymax - ymin
        if param.code_type == PriorBoxParameter.CORNER:
            return [xmin + t[0], ymin + t[1], xmax + t[2], ymax + t[3]]
        if param.code_type == PriorBoxParameter.CORNER_SIZE:
            return [
                xmin + t[0] * width,
                ymin + t[1] * height,
                xmax + t[2] * width,
                ymax + t[3] * height,
            ]
        x, y = (xmin + xmax) / 2 + t[0] * width, (ymin + ymax) / 2 + t[1] * height
        wide, high = math.exp(t[2]) * width, math.exp(t[3]) * height
        return [x - wide / 2, y - high / 2, x + wide / 2, y + high / 2]

    def _encode(self, prior: int, box: Box) -> list[float]:
        param, (xmin, ymin, xmax, ymax) = self.param, self.boxes[prior]
        width, height = xmax - xmin, ymax - ymin
        t = [box[0] - xmin, box[1] - ymin, box[2] - xmax, box[3] - ymax]
        if param.code_type == PriorBoxParameter.CORNER_SIZE:
            t = [t[0] / width, t[1] / height, t[2] / width, t[3] / height]
        if param.code_type == PriorBoxParameter.CENTER_SIZE:
            t = [
                ((box[0] + box[2]) / 2 - (xmin + xmax) / 2) / width,
                ((box[1] + box[3]) / 2 - (ymin + ymax) / 2) / height,
                math.log((box[2] - box[0]) / width),
                math.log((box[3] - box[1]) / height),
            ]
        # In the target or not, the difference is divided by the variances.
        return [x / v for x, v in zip(t, self.variances[prior], strict=True)]

    def _candidate(self, image: int, group: int, prior: int) -> list[float]:
        if self.param.use_prior_for_matching:
            return list(self.boxes[prior])
        return self._decode(image, group, prior)

    # ---- matching and mining

    def _match(self, image: int) -> _Match:
        param = self.param
        own = [
            place
            for place, row in enumerate(self.rows)
            if row[0] == image and (param.use_difficult_gt or not row[7])
        ]
        one = _Match(own)
        apart = not param.share_location and not param.use_prior_for_matching
        for group in range(self.classes if apart else 1):
            rows = [row for row in own if not apart or self.rows[row][1] == group]
            found = self._match_group(image, group, rows, one)
            for prior, row in found.items():
                place = 0 if param.share_location else int(self.rows[row][1])
                one.matched[place, prior] = row
        return one

    def _match_group(
        self, image: int, group: int, rows: Sequence[int], one: _Match
    ) -> dict[int, int]:
        param = self.param
        pairs: dict[tuple[int, int], float] = {}
        for prior in range(self.priors):
            box = self._candidate(image, group, prior)
            if param.ignore_cross_boundary_bbox and any(not 0 <= side <= 1 for side in box):
                one.out.add(prior)
                continue
            for row in rows:
                overlap = overlap_of(box, self.rows[row][3:7])
                if overlap > 1e-6:
                    pairs[prior, row] = overlap
                    one.best[prior] = max(one.best.get(prior, 0), overlap)
        found: dict[int, int] = {}
        for (prior, row), _ in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0])):
            if prior not in found and row not in found.values():
                found[prior] = row
        if param.match_type == MultiBoxLossParameter.PER_PREDICTION:
            for prior in set(range(self.priors)) - found.keys():
                near = [(-pairs.get((prior, row), 0), row) for row in rows]
                if near and -min(near)[0] >= max(param.overlap_threshold, 1e-6):
                    found[prior] = min(near)[1]
        return found

    def _mine(self, image: int, one: _Match) -> set[int]:
        """The negatives; takes matches away that are not mined."""
        param = self.param
        if param.mining_type == NONE or not one.rows:
            return set()
        matched = {prior: row for (_, prior), row in one.matched.items()}
        free = set(range(self.priors)) - matched.keys() - one.out
        candidates = list(range(self.priors))
        most = param.sample_size
        if param.mining_type != HARD:
            candidates = sorted(
                prior for prior in free if one.best.get(prior, 0) < param.neg_overlap
            )
            most = int(np.float32(len(matched)) * np.float32(param.neg_pos_ratio))
        hardness = {prior: self._hardness(image, prior, matched.get(prior)) for prior in candidates}
        order = sorted(candidates, key=lambda prior: (-hardness[prior], prior))
        nms = param.nms_param
        if param.HasField("nms_param") and nms.nms_threshold > 0:
            order = self._suppressed(image, order[: nms.top_k] if nms.top_k >= 0 else order)
        chosen = set(order[:most])
        if param.mining_type == HARD:
            for prior in matched.keys() - chosen:
                del one.matched[0, prior]
                free.add(prior)
            free -= matched.keys()  # what was matched is no negative
        return free & chosen

    def _suppressed(self, image: int, order: Sequence[int]) -> list[int]:
        param = self.param
        boxes = [
            self.boxes[prior] if param.use_prior_for_nms else self._decode(image, 0, prior)
            for prior in range(self.priors)
        ]
        kept: list[int] = []
        for prior in order:
            covered = any(
                overlap_of(boxes[prior], boxes[other]) > param.nms_param.nms_threshold
                for other in kept
            )
            if area_of(boxes[prior]) >= 1e-5 and not covered:
                kept.append(prior)
        return kept

    def _hardness(self, image: int, prior: int, row: int | None) -> float:
        param = self.param
        label = param.background_label_id if row is None else int(self.rows[row][1])
        scores = self.scored[image][prior]
        if param.conf_loss_type == LOGISTIC:
            loss = self._class_loss(scores, [label])[0]
        else:
            loss = -math.log(max(softmax(scores)[label], SMALLEST))
        if param.mining_type == HARD and row is not None:
            values, _ = self._differences(image, 0, prior, row)
            loss += sum(self._distance(value)[0] for value in values)
        return loss

    # ---- losses

    def _differences(
        self, image: int, group: int, prior: int, row: int
    ) -> tuple[list[float], list[float]]:
        """The differences of a match, and their derivatives."""
        param = self.param
        wanted = self._encode(prior, self.rows[row][3:7])
        slopes = [1.0] * 4
        if param.encode_variance_in_target:
            slopes = [1 / v for v in self.variances[prior]]
        given = [x * s for x, s in zip(self.located[image][prior][group], slopes, strict=True)]
        values = [x - t for x, t in zip(given, wanted, strict=True)]
        if param.bp_inside:
            box = self._candidate(image, group, prior)
            for side in range(4):
                if not 0 <= box[side] <= 1:
                    values[side] = slopes[side] = 0.0
        return values, slopes

    def _distance(self, d: float) -> tuple[float, float]:
        if self.param.loc_loss_type == L2 or abs(d) < 1:
            return d * d / 2, d
        return abs(d) - 0.5, math.copysign(1, d)

    def _target(self, row: int) -> int:
        if self.param.map_object_to_agnostic:
            return self.param.background_label_id + 1
        return int(self.rows[row][1])

    def _class_loss(
        self, scores: Sequence[float], targets: Sequence[int]
    ) -> tuple[float, list[float]]:
        """The loss of one prior, and its derivatives. targets: of which a softmax has the last."""
        if self.param.conf_loss_type == LOGISTIC:
            hits = [label in targets for label in range(len(scores))]
            p = [1 / (1 + math.exp(-x)) for x in scores]
            loss = -sum(math.log(q if hit else 1 - q) for q, hit in zip(p, hits, strict=True))
            return loss, [q - hit for q, hit in zip(p, hits, strict=True)]
        own, p = targets[-1], softmax(scores)
        rest, log = 1 - p[own], math.log(max(p[own], SMALLEST))
        slope = self.alpha * rest**self.gamma * (self.gamma * p[own] * log / rest - 1)
        slopes = [slope * ((label == own) - q) for label, q in enumerate(p)]
        return -self.alpha * rest**self.gamma * log, slopes


def area_of(box: Box) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def overlap_of(a: Box, b: Box) -> float:
    common = area_of(
        [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])],
    )
    return common / (area_of(a) + area_of(b) - common) if common else 0.0


def loss_layer(fields: str, classes: int = 4) -> str:
    """The inside of a `layer { }` block. fields: of multibox_loss_param."""
    return f'type: "MultiBoxLoss" multibox_loss_param {{ num_classes: {classes} {fields} }}'


def check_multibox(layer: str, given: Batch, ops: Ops) -> None:
    """Compares loss and gradients with those of loops. layer: the inside of its block."""
    expected = Plain(layer, given).compute()
    run = make_layer(layer, given.bottoms, ops=ops)
    np.testing.assert_allclose(run.forward()[0], expected.loss, rtol=RTOL)
    run.top[0].diff.write()[...] = 0.5
    run.backward([True, True, False, False])
    for blob, gradient in zip(run.bottom, (expected.locations, expected.scores), strict=False):
        atol = ATOL * max(1, np.abs(gradient).max(initial=0))
        np.testing.assert_allclose(blob.diff.read(), gradient / 2, rtol=RTOL, atol=atol)
