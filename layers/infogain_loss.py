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
    top[1], optional: like bottom[0], the probabilities softmax(x), which pass no gradient on; with
    it the layer needs a loss_weight for each top, usually 1 and 0
    infogain_loss_param: source (none): a file with H as a BlobProto, where there is no bottom[2];
    axis (1): that of the classes
    loss_param: ignore_label (none): positions with it count for nothing; normalization (VALID): M
    is FULL all positions, VALID those not ignored, BATCH_SIZE the positions before the class axis,
    NONE 1, and at least 1; normalize (none): the old form, refused as Caffe refuses it here

    Raises: NetError where there is no H, labels or H are to get a gradient, normalize is given, or
    loss_weight is not given for a second top; DataError where the file cannot be read; ShapeError
    where the number of labels or the size of H does not fit; LabelError at a label that is no
    class.
    Source: Caffe's layer catalogue, Infogain Loss.

    Example: score (8, 10), label (8), H (10, 10) -> loss ()
        layer { name: "loss" type: "InfogainLoss"
          bottom: "score" bottom: "label" bottom: "H" top: "loss" }
    """

    bottoms = (2, 3)
    tops = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        super().setup(bottom, top)
        if self.param.loss_param.HasField("normalize"):
            self.error(
                "loss_param.normalize: expected it to be left out, got it: Caffe's InfogainLoss "
                "refuses the old form. Use `normalization: VALID` for true, `normalization: "
                "BATCH_SIZE` for false."
            )
        if len(top) > 1 and not self.param.loss_weight:
            self.error(
                "expected a loss_weight for each of the 2 tops, got none, or weights that went to "
                "a Split because other layers read the weighted top. Give `loss_weight: 1 "
                "loss_weight: 0` and let no other layer read the loss, or remove the second top."
            )
        if len(bottom) == 2:
            self._file_matrix = Value((), self.ops.dtype)
            self._load_matrix(self._file_matrix)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        scores, labels = bottom[:2]
        axis = self.param.infogain_loss_param.axis
        axis = class_axis(self, scores, labels, axis, "infogain_loss_param.axis")
        geometry = AxisGeometry.around(scores.shape, axis)
        matrix = self._matrix(bottom)
        if matrix.count != geometry.size**2:
            self.shape_error(
                f"bottom '{bottom[2].name}'"
                if len(bottom) > 2
                else f"infogain_loss_param.source '{self.param.infogain_loss_param.source}'",
                f"a matrix of {geometry.size} x {geometry.size}, for the classes in axis {axis} of "
                f"'{scores.name}' of shape {scores.shape}",
                f"{matrix.count} elements in shape {matrix.shape}",
                "Give a row and a column per class.",
            )
        if len(top) > 1:
            top[1].reshape(scores.shape)
            self.probabilities = top[1].data
        else:
            self.probabilities = Value(scores.shape, self.ops.dtype)
        self.op = self.ops.infogain_loss(
            geometry,
            self.normalization(geometry.outer, geometry.inner),
            self.ignore_label,
            self.where,
        )
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        scores, labels = bottom[:2]
        self.op.forward(
            scores.data,
            labels.data,
            self._matrix(bottom),
            out=top[0].data,
            prob=self.probabilities,
        )

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        self.refuse_backward([False, *propagate_down[1:]], "labels and matrix have no gradient")
        if propagate_down[0]:
            scores, labels = bottom[:2]
            self.op.backward(
                self.probabilities,
                labels.data,
                self._matrix(bottom),
                top[0].diff,
                out=scores.diff,
            )

    def allow_force_backward(self, bottom_index: int) -> bool:
        """The scores, not the labels nor the matrix."""
        return bottom_index == 0

    def _matrix(self, bottom: Blobs) -> Value:
        """H, of the third bottom or of the file."""
        return bottom[2].data if len(bottom) > 2 else self._file_matrix

    def _load_matrix(self, matrix: Value) -> None:
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
        matrix.reshape(blob.shape)
        matrix.write()[...] = blob.data
