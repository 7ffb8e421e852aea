"""InfogainLoss: cross entropy with a weight for each pair of right and possible class."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.errors import DataError
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.loss import LossLayer, class_axis
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.proto.weights import decode_blob


@register_layer("InfogainLoss")
class InfogainLossLayer(LossLayer):
    """E = -1/M sum over positions and classes l of H[label, l] log(softmax(x)[l]); with the unit
    matrix as H it is SoftmaxWithLoss.

    bottom[0]: (N, C, ...) scores x   bottom[1]: (N, ...) class numbers 0 to C-1, as many as there
    are scores without the class axis   bottom[2], optional: H, C * C elements   top[0]: scalar
    top[1], optional: like bottom[0], the probabilities
    infogain_loss_param: source (none): a file with H as a BlobProto, where there is no bottom[2];
    axis (1): that of the classes
    loss_param: ignore_label (none): positions with it count for nothing; normalization (VALID): M
    is FULL all positions, VALID those not ignored, BATCH_SIZE the positions before the class axis,
    NONE 1, and at least 1; normalize (none): old form, true VALID, false BATCH_SIZE

    Raises: NetError where there is no H, or labels or H are to get a gradient; DataError where the
    file cannot be read; ShapeError where the number of labels or the size of H does not fit;
    LabelError at a label that is no class.
    Source: Caffe's layer catalogue, Infogain Loss.

    Example: score (8, 10), label (8), H (10, 10) -> loss ()
        layer { name: "loss" type: "InfogainLoss"
          bottom: "score" bottom: "label" bottom: "H" top: "loss" }
    """

    bottoms = (2, 3)
    tops = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        self.matrix = Value((), self.ops.dtype)
        if len(bottom) == 2:
            self._load_matrix()

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        scores, labels = bottom[:2]
        axis = self.param.infogain_loss_param.axis
        axis = class_axis(self, scores, labels, axis, "infogain_loss_param.axis")
        geometry = AxisGeometry.around(scores.shape, axis)
        if len(bottom) > 2:
            name, shape, count = f"bottom '{bottom[2].name}'", bottom[2].shape, bottom[2].count
        else:
            name = f"infogain_loss_param.source '{self.param.infogain_loss_param.source}'"
            shape, count = self.matrix.shape, self.matrix.count
        if count != geometry.size**2:
            self.shape_error(
                name,
                f"a matrix of {geometry.size} x {geometry.size}, for the classes in axis {axis} of "
                f"'{scores.name}' of shape {scores.shape}",
                f"{count} elements in shape {shape}",
                "Give a row and a column per class.",
            )
        self.probabilities = self.probabilities_for(top, scores)
        normalization = self.normalization(geometry.outer, geometry.inner)
        self.op = self.ops.infogain_loss(geometry, normalization, self.ignore_label, self.where)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(
            bottom[0].data,
            bottom[1].data,
            bottom[2].data if len(bottom) > 2 else self.matrix,
            out=top[0].data,
            prob=self.probabilities,
        )

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward([False, *propagate_down[1:]], "labels and matrix have no gradient")
        if propagate_down[0]:
            self.op.backward(
                self.probabilities,
                bottom[1].data,
                bottom[2].data if len(bottom) > 2 else self.matrix,
                top[0].diff,
                out=bottom[0].diff,
            )

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The scores, not the labels nor the matrix."""
        return bottom_index == 0

    def _load_matrix(self) -> None:
        source = self.param.infogain_loss_param.source
        if not source:
            self.error(
                "expected infogain_loss_param.source or a third bottom with the matrix, got "
                "neither. Give one of them."
            )
        path = self.find_file(source, "infogain_loss_param.source")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.where}: infogain_loss_param.source: expected a file that can be read, got "
                f"'{path}': {error.strerror}. Name a file with a BlobProto."
            ) from None
        blob = decode_blob(data, str(path))
        self.matrix.reshape(blob.shape)
        self.matrix.write()[...] = blob.data
