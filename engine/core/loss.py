"""What the layers that compute a loss have in common: the shape rules and the normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.proto.caffe_pb2 import LossParameter


@dataclass(frozen=True)
class LossNormalization:
    """What the sum of a loss over (outer, inner) elements is divided by: FULL all of them, VALID
    those that are not ignored, BATCH_SIZE outer, NONE 1, PRE_FIXED `fixed`; never by less than
    1."""

    MODES: ClassVar[tuple[str, ...]] = ("FULL", "VALID", "BATCH_SIZE", "NONE")

    mode: str
    outer: int
    inner: int
    fixed: float = 1.0

    def divisor(self, valid: int) -> float:
        """valid: how many elements are not ignored."""
        sizes: dict[str, float] = {
            "FULL": self.outer * self.inner,
            "VALID": valid,
            "BATCH_SIZE": self.outer,
            "NONE": 1,
            "PRE_FIXED": self.fixed,
        }
        return max(1, sizes[self.mode])


def class_axis(layer: Layer, scores: Blob, labels: Blob, axis: int, field_name: str) -> int:
    """`axis` of the scores, negative ones counted from the end, if there is a label per position of
    the other axes.

    Raises: ShapeError where there is no such axis, nothing in it, or another number of labels.
    """
    axis = layer.canonical_axis(axis, scores, field_name)
    if not scores.shape[axis]:
        layer.shape_error(
            f"bottom '{scores.name}'",
            f"at least 1 class in axis {axis}",
            f"shape {scores.shape}",
            f"Set {field_name} to the axis of the classes.",
        )
    positions = math.prod(scores.shape[:axis]) * math.prod(scores.shape[axis + 1 :])
    if labels.count != positions:
        layer.shape_error(
            f"bottom '{labels.name}'",
            f"{positions} labels, one per position of '{scores.name}' of shape {scores.shape} "
            f"without axis {axis}",
            f"{labels.count} in shape {labels.shape}",
            f"Set {field_name} to the axis of the classes, or change the labels.",
        )
    return axis


def check_features(layer: Layer, features: Blobs) -> int:
    """The number of samples N of blobs that hold features of the same samples.

    Raises: ShapeError where these are no (N, C), or differ in size.
    """
    first, *others = features
    samples = first.shape[:1]
    same = samples and all(
        blob.shape[:1] == samples and blob.count == first.count for blob in others
    )
    if not same or any(math.prod(blob.shape[2:]) != 1 for blob in features):
        names, shapes = (
            f"{', '.join(texts[:-1])} and {texts[-1]}"
            for texts in ([f"'{blob.name}'" for blob in features], [f"{b.shape}" for b in features])
        )
        layer.shape_error(
            f"bottoms {names}",
            f"one shape (N, C) for {'both' if len(features) == 2 else 'all'}",
            shapes,
            "Flatten the features of a sample into one axis, equally long in "
            f"{'both' if len(features) == 2 else 'all'}.",
        )
    return samples[0]


def check_pairs(layer: Layer, bottom: Blobs) -> int:
    """The number of pairs whose features are in the first two bottoms, with a label each in the
    third.

    Raises: ShapeError where features are no (N, C), or differ in size, or labels in number.
    """
    samples, labels = check_features(layer, bottom[:2]), bottom[2]
    if labels.shape[:1] != (samples,) or labels.count != samples:
        layer.shape_error(
            f"bottom '{labels.name}'",
            f"one label per pair, shape ({samples},)",
            f"shape {labels.shape}",
            "Give every pair its label.",
        )
    return samples


class LossLayer(Layer):
    """A layer with two bottoms, scores and what they should be, and a scalar loss as first top.

    The top may be missing in the prototxt; its loss weight is 1 by default, or 0 in types whose
    `has_default_weight` is False, which warn where none is given.

    probabilities_by: the layer type that makes of the scores what a second top would be taken for,
    where there is none.  normalizations: the modes that loss_param may ask for.
    """

    bottoms: ClassVar[int | tuple[int, int | None]] = 2
    auto_tops = True
    is_loss = True
    probabilities_by: ClassVar[str] = ""
    normalizations: ClassVar[tuple[str, ...]] = LossNormalization.MODES

    def check_blob_counts(self, bottoms: int, tops: int) -> None:
        """Raises: NetError like every layer; at a second top with the layer to add instead."""
        if tops > 1 and bottoms and self.probabilities_by:
            scores, probabilities = self.param.bottom[0], self.param.top[1]
            axis = self.param.softmax_param.axis
            block = f" softmax_param {{ axis: {axis} }}" if axis != 1 else ""
            self.error(
                f"expected 1 top blob, the loss, got {tops}: the second, '{probabilities}', is "
                "refused as Caffe refuses it. Remove it, with its loss_weight, and add for the "
                f'probabilities: layer {{ name: "{probabilities}" type: '
                f'"{self.probabilities_by}" bottom: "{scores}" top: "{probabilities}"{block} }}.'
            )
        super().check_blob_counts(bottoms, tops)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Raises: NetError where loss_param asks for what only a fork has."""
        fixed = ("pre_fixed_normalizer",) if "PRE_FIXED" in self.normalizations else ()
        self.refuse_fork_fields(self.param.loss_param, fixed)
        if not (self.has_default_weight or self.param.loss_weight):
            log.warning(
                f"{self.where}: this loss has no loss_weight, and its type no default: its weight "
                "is 0, and nothing is learnt from it. Give it one, such as `loss_weight: 1`."
            )

    @property
    def has_default_weight(self) -> bool:
        """Whether the loss weight is 1, not 0, where the prototxt gives none."""
        return True

    @property
    def default_loss_weight(self) -> float:
        return 1.0 if self.has_default_weight else 0.0

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        """Raises: ShapeError where the bottoms have another number of samples."""
        if not super().reshape(bottom, top):
            return False
        counts = [blob.shape[:1] for blob in bottom[:2]]
        if not counts[0] or counts[0] != counts[1]:
            self.shape_error(
                f"bottom '{bottom[1].name}'",
                f"as many samples (axis 0) as '{bottom[0].name}' of shape {bottom[0].shape}",
                f"shape {bottom[1].shape}",
                "Give every sample its label.",
            )
        top[0].reshape(())
        return True

    def check_equal_counts(self, bottom: Blobs) -> None:
        """Raises: ShapeError where the second bottom has not as many elements as the first."""
        scores, targets = bottom
        if scores.count != targets.count:
            self.shape_error(
                f"bottom '{targets.name}'",
                f"as many elements as '{scores.name}' of shape {scores.shape}",
                f"shape {targets.shape}",
                "Give both bottoms the same shape.",
            )

    def check_one_label_each(self, bottom: Blobs) -> None:
        """Raises: ShapeError where the second bottom has not one label for each sample of the
        first."""
        scores, labels = bottom[:2]
        if labels.count != scores.shape[0]:
            self.shape_error(
                f"bottom '{labels.name}'",
                f"one label per sample of '{scores.name}', shape ({scores.shape[0]},)",
                f"shape {labels.shape}",
                "Give every sample one label.",
            )

    def classes_per_sample(self, bottom: Blobs) -> int:
        """How many scores a sample has, all axes after the first flattened, if it has one label.

        Raises: ShapeError where it has none, or another number of labels.
        """
        self.check_one_label_each(bottom)
        scores = bottom[0]
        classes = math.prod(scores.shape[1:])
        if not classes:
            self.shape_error(
                f"bottom '{scores.name}'",
                "at least 1 class per sample",
                f"shape {scores.shape}",
                "Give every class its score.",
            )
        return classes

    @property
    def ignore_label(self) -> int | None:
        """loss_param.ignore_label, None where not given."""
        param = self.param.loss_param
        return param.ignore_label if param.HasField("ignore_label") else None

    def normalization(
        self, outer: int, inner: int, default: int = LossParameter.VALID
    ) -> LossNormalization:
        """What loss_param says the sum over (outer, inner) elements is divided by.

        default: the mode where the prototxt gives neither `normalization` nor the old `normalize`.
        Raises: NetError where the mode is a fork's.
        """
        param = self.param.loss_param
        mode = default
        if param.HasField("normalization"):
            mode = param.normalization
        elif param.HasField("normalize"):
            mode = LossParameter.VALID if param.normalize else LossParameter.BATCH_SIZE
        name = LossParameter.NormalizationMode.Name(mode)
        if name not in self.normalizations:
            known = ", ".join(self.normalizations)
            self.error(
                f"loss_param.normalization: expected {known}, got {name}. Choose one of these."
            )
        return LossNormalization(name, outer, inner, param.pre_fixed_normalizer)

    def refuse_other_losses(self) -> None:
        """Raises: NetError where a top besides the loss has a loss weight."""
        for name, weight in list(zip(self.param.top, self.param.loss_weight))[1:]:
            if weight:
                self.error(
                    f"loss_weight of top '{name}': expected 0, got {weight:g}: only the first top "
                    "has a gradient. Set it to 0."
                )

    def refuse_label_gradient(self, propagate_down: Sequence[bool]) -> None:
        """Raises: NetError where the second bottom or a later one is to get a gradient."""
        self.refuse_backward([False, *propagate_down[1:]], "labels have no gradient")
