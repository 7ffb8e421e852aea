"""What the layers that compute a loss have in common: the shape rules and the normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.value import Value
from caffepy.proto.caffe_pb2 import LossParameter


@dataclass(frozen=True)
class LossNormalization:
    """What the sum of a loss over (outer, inner) elements is divided by: FULL all of them, VALID
    those that are not ignored, BATCH_SIZE outer, NONE 1; never by less than 1."""

    MODES: ClassVar[tuple[str, ...]] = ("FULL", "VALID", "BATCH_SIZE", "NONE")

    mode: str
    outer: int
    inner: int

    def divisor(self, valid: int) -> int:
        """valid: how many elements are not ignored."""
        sizes = {
            "FULL": self.outer * self.inner,
            "VALID": valid,
            "BATCH_SIZE": self.outer,
            "NONE": 1,
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


class LossLayer(Layer):
    """A layer with two bottoms, scores and what they should be, and a scalar loss as first top.

    The top may be missing in the prototxt; its loss weight is 1 by default.
    """

    bottoms: ClassVar[int | tuple[int, int | None]] = 2
    auto_tops = True
    is_loss = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Raises: NetError where loss_param asks for what only a fork has."""
        self.refuse_fork_fields(self.param.loss_param)

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

    def classes_per_sample(self, bottom: Blobs) -> int:
        """How many scores a sample has, all axes after the first flattened, if it has one label.

        Raises: ShapeError where it has none, or another number of labels.
        """
        scores, labels = bottom[:2]
        if labels.count != scores.shape[0]:
            self.shape_error(
                f"bottom '{labels.name}'",
                f"one label per sample of '{scores.name}', shape ({scores.shape[0]},)",
                f"shape {labels.shape}",
                "Give every sample one label.",
            )
        classes = math.prod(scores.shape[1:])
        if not classes:
            self.shape_error(
                f"bottom '{scores.name}'",
                "at least 1 class per sample",
                f"shape {scores.shape}",
                "Give every class its score.",
            )
        return classes

    def probabilities_for(self, top: Blobs, scores: Blob) -> Value:
        """Where the probabilities of the scores go: the second top, shaped, or a value of our own
        where the net has no use for them."""
        if len(top) < 2:
            return Value(scores.shape, self.ops.dtype)
        top[1].reshape(scores.shape)
        return top[1].data

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
        if name not in LossNormalization.MODES:
            known = ", ".join(LossNormalization.MODES)
            self.error(
                f"loss_param.normalization: expected {known}, got {name}. Choose one of these."
            )
        return LossNormalization(name, outer, inner)

    def refuse_label_gradient(self, propagate_down: Sequence[bool]) -> None:
        """Raises: NetError where the second bottom or a later one is to get a gradient."""
        self.refuse_backward([False, *propagate_down[1:]], "labels have no gradient")
