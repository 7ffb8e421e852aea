"""What the losses of boxes have in common: matching, mining, and the two losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.multibox_geometry import (
    ROW,
    ClassLoss,
    LocationLoss,
    Matching,
    Mining,
    MultiBox,
    Suppression,
)
from caffepy.proto.caffe_pb2 import MultiBoxLossParameter, PriorBoxParameter

_DEFAULTS = MultiBoxLossParameter()


class MultiBoxLayer(LossLayer):
    """A loss of the locations and class scores of priors, as the fields of MultiBoxLossParameter
    say. alpha, gamma: what a type may set before `reshape`: of the focal loss of a softmax."""

    bottoms = 4
    bottoms_of_any_rows = (3,)
    not_finite_where = "a prior has no width, no height, or a variance of 0"
    alpha = 1.0
    gamma = 0.0

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Raises: NetError where fields contradict each other, or are only a fork's."""
        super().setup(bottom, top)
        param = self.fields
        self.refuse_fork_fields(param)
        self._check_classes(param)
        self._check_mining(param)
        if not math.isfinite(param.loc_weight):
            self.error(
                "multibox_loss_param.loc_weight: expected a finite number, got "
                f"{param.loc_weight:g}. Correct it."
            )
        self._built: MultiBox | None = None  # what the ops are made for

    @property
    def fields(self) -> MultiBoxLossParameter:
        return self.param.multibox_loss_param

    @property
    def mining_type(self) -> str:
        """The field, or what the old one says."""
        param = self.fields
        if param.HasField("do_neg_mining") and not param.HasField("mining_type"):
            return "MAX_NEGATIVE" if param.do_neg_mining else "NONE"
        return MultiBoxLossParameter.MiningType.Name(param.mining_type)

    @property
    def is_logistic(self) -> bool:
        return self.fields.conf_loss_type == MultiBoxLossParameter.LOGISTIC

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        """Raises: ShapeError where the bottoms do not fit each other."""
        if not super().reshape(bottom, top):
            return False
        geometry = self._geometry(bottom)
        if geometry != self._built:
            self._build(geometry)
        return True

    def _build(self, geometry: MultiBox) -> None:
        """Makes the ops, which are good for any number of boxes."""
        param = self.fields
        mines = self.mining_type != "NONE"
        self.match = self.ops.match_boxes(
            geometry,
            Matching(
                per_prediction=param.match_type == MultiBoxLossParameter.PER_PREDICTION,
                threshold=param.overlap_threshold,
                most=param.neg_overlap if self.mining_type == "MAX_NEGATIVE" else math.inf,
                skips_crossing=param.ignore_cross_boundary_bbox,
                skips_difficult=not param.use_difficult_gt,
                limits_classes=mines or not geometry.shared or not geometry.agnostic,
            ),
            self.where,
        )
        location_loss = LocationLoss(
            MultiBoxLossParameter.LocLossType.Name(param.loc_loss_type),
            param.loc_weight,
            param.bp_inside,
        )
        class_loss = ClassLoss(
            "LOGISTIC" if self.is_logistic else "SOFTMAX", self.alpha, self.gamma
        )
        mining = Mining(
            self.mining_type, param.neg_pos_ratio, param.sample_size, self._suppression()
        )
        self.mine = self.ops.mine_boxes(geometry, mining, self.is_logistic, location_loss)
        normalization = self.normalization(geometry.images, geometry.priors)
        self.locate = self.ops.box_location_loss(geometry, location_loss, normalization)
        self.classify = self.ops.box_class_loss(geometry, class_loss, normalization)
        self.sum, self.nothing = self.ops.sum(), self.ops.fill(0.0)
        rows = geometry.images * geometry.priors
        self.softmax = self.ops.softmax(AxisGeometry(rows, geometry.classes, 1))
        self.probabilities = Value((rows, geometry.classes), self.ops.dtype)
        self.matches = Value((geometry.images, geometry.groups, geometry.priors), "int32")
        self.targets = Value((geometry.images, geometry.priors), "int32")
        self.losses = Value((), self.ops.dtype), Value((), self.ops.dtype)
        self._built = geometry

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        locations, scores, priors, truth = (blob.data for blob in bottom)
        if not self.is_logistic:
            self.softmax.forward(scores, out=self.probabilities)
            scores = self.probabilities
        self.match.forward(locations, priors, truth, out=self.matches)
        self.mine.forward(locations, scores, priors, truth, matches=self.matches, out=self.targets)
        wanted = self.param.propagate_down or (True, True)
        parts = [loss for loss, counts in zip(self.losses, wanted, strict=False) if counts]
        if wanted[0]:
            self.locate.forward(locations, priors, truth, self.matches, out=self.losses[0])
        if wanted[1]:
            self.classify.forward(scores, self.targets, self.matches, out=self.losses[1])
        if parts:
            self.sum.forward(parts, out=top[0].data)
        else:
            self.nothing.forward(out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward(
            [False, False, *propagate_down[2:]], "priors and boxes have no gradient"
        )
        locations, scores, priors, truth = (blob.data for blob in bottom)
        dloss = top[0].diff
        if propagate_down[0]:
            self.locate.backward(locations, priors, truth, self.matches, dloss, out=bottom[0].diff)
        if propagate_down[1]:
            given = scores if self.is_logistic else self.probabilities
            self.classify.backward(given, self.targets, self.matches, dloss, out=bottom[1].diff)

    # ---- what the fields say

    def _check_classes(self, param: MultiBoxLossParameter) -> None:
        classes, background = param.num_classes, param.background_label_id
        if not classes:
            self.error("multibox_loss_param.num_classes: expected at least 1, got 0. Set it.")
        if param.map_object_to_agnostic and background + 1 >= classes:
            self.error(
                f"multibox_loss_param.num_classes: expected {background + 2} or more with "
                f"map_object_to_agnostic and background_label_id {background}, got {classes}. "
                "Give the scores a class for all objects."
            )
        if not self.is_logistic and background >= classes:
            self.error(
                f"multibox_loss_param.background_label_id: expected 0 to {classes - 1} with a "
                f"SOFTMAX loss, got {background}. Correct it, or num_classes."
            )

    def _check_mining(self, param: MultiBoxLossParameter) -> None:
        block, kind = "multibox_loss_param", self.mining_type
        mines = kind != "NONE"
        if param.HasField("do_neg_mining") and param.do_neg_mining != mines:
            self.error(
                f"{block}.do_neg_mining: expected it to agree with mining_type {kind}, got "
                f"{str(param.do_neg_mining).lower()}. Remove the old field."
            )
        if mines and not param.share_location:
            self.error(
                f"{block}.share_location: expected true with mining_type {kind}, got false. Set "
                "mining_type: NONE, or share the locations."
            )
        if kind == "MAX_NEGATIVE" and not 0 < param.neg_pos_ratio < math.inf:
            self.error(
                f"{block}.neg_pos_ratio: expected more than 0 with mining_type {kind}, got "
                f"{param.neg_pos_ratio:g}. Correct it."
            )
        if kind == "HARD_EXAMPLE" and param.sample_size < 1:
            self.error(
                f"{block}.sample_size: expected at least 1 with mining_type {kind}, got "
                f"{param.sample_size}. Raise it."
            )
        if param.nms_param.soft_nms or param.objectness_score != _DEFAULTS.objectness_score:
            field = "nms_param.soft_nms" if param.nms_param.soft_nms else "objectness_score"
            self.error(
                f"{block}.{field}: expected it to be left out or at its default, got another: a "
                "fork's extension that is not implemented here. Remove it."
            )

    def _suppression(self) -> Suppression | None:
        param = self.fields
        if not (param.HasField("nms_param") and param.nms_param.nms_threshold > 0):
            return None
        nms = param.nms_param
        return Suppression(nms.nms_threshold, nms.top_k, param.use_prior_for_nms)

    def _geometry(self, bottom: Blobs) -> MultiBox:
        locations, scores, priors, truth = bottom
        param = self.fields
        if len(priors.shape) != 3 or priors.shape[:2] != (1, 2) or priors.shape[2] % 4:
            self.shape_error(
                f"bottom '{priors.name}'",
                "shape (1, 2, 4 x priors), boxes and variances as PriorBox gives them",
                f"shape {priors.shape}",
                "Give the layer the tops of PriorBox layers, concatenated along axis 2.",
            )
        if len(truth.shape) != 4 or truth.shape[:2] != (1, 1) or truth.shape[3] != ROW:
            self.shape_error(
                f"bottom '{truth.name}'",
                f"shape (1, 1, boxes, {ROW}): image, class, instance, xmin, ymin, xmax, ymax, "
                "difficult",
                f"shape {truth.shape}",
                "Give the layer the second top of an AnnotatedData layer, from records with boxes: "
                "those of convert_annoset --anno_type detection.",
            )
        geometry = MultiBox(
            images=locations.shape[0],
            priors=priors.shape[2] // 4,
            classes=param.num_classes,
            shared=param.share_location,
            by_prior=param.use_prior_for_matching,
            background=param.background_label_id,
            agnostic=param.map_object_to_agnostic,
            code_type=PriorBoxParameter.CodeType.Name(param.code_type),
            variance_in_target=param.encode_variance_in_target,
        )
        for blob, each, what in (
            (locations, 4 * geometry.location_classes, "coordinates"),
            (scores, geometry.classes, "class scores"),
        ):
            if blob.count != geometry.images * geometry.priors * each:
                self.shape_error(
                    f"bottom '{blob.name}'",
                    f"{geometry.priors * each} elements per image, {each} {what} for each of "
                    f"{geometry.priors} priors",
                    f"shape {blob.shape}",
                    "Give the convolution below as many outputs as that takes per position, or "
                    "correct num_classes or share_location.",
                )
        return geometry
