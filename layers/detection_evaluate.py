"""DetectionEvaluate: which detections hit an object that is there."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.image_sizes import read_image_sizes, resize_of
from caffepy.engine.data.verdicts import DETECTION, MOST_CLASSES, OBJECT, VERDICT, Judge


@register_layer("DetectionEvaluate")
class DetectionEvaluateLayer(Layer):
    """Compares detections with what is in the images. Solvers with `eval_type: "detection"`, and
    `caffepy test_detection`, make average precisions of its top.

    bottom[0]: (1, 1, D, 7) detections (image, label, score, xmin, ymin, xmax, ymax); rows with
    image or label -1 stand for none
    bottom[1]: (1, 1, G, 8) objects (image, label, instance, xmin, ymin, xmax, ymax, difficult); a
    row with image -1 ends them
    top[0]: (1, 1, K + E, 5): for each of the K labels but the background's (-1, label, number of
    objects, -1, -1), then for each of the E detections (image, label, score, hit, miss), by image,
    label and falling score (in their order where the image has no object of the label)
    detection_evaluate_param: num_classes: with the background's; background_label_id (0): the one
    that no object has, none where there is no such class;
    overlap_threshold (0.5): a hit has at least this intersection over union with an object that no
    detection of a higher score has hit; evaluate_difficult_gt (true): with false, difficult objects
    do not count, and a detection of one is neither hit nor miss; name_size_file (none): a text file
    with name, height and width of each image on a line, in their order, with which overlaps are
    those of boxes in pixels, both ends included, and whose next line is taken for each image that
    has rows in bottom[0], the first one after the last; resize_param (none): how the images were
    made to fit into the net, for name_size_file, of which resize_mode, height, width, height_scale
    and width_scale count; output_logits (false): another fork's, refused

    Detections are compared by the object that they overlap most, also where that one is hit
    already. The layer is for phase TEST, and runs on the host.

    Raises: NetError for a missing num_classes, and where a gradient is asked for; ShapeError for
    other rows; DataError for a label that does not exist, a score or an object that is nan, and for
    what is wrong with name_size_file.
    Source: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, and the fork to it.

    Example: det (1, 1, 3, 7), label (1, 1, 2, 8) -> eval (1, 1, 23, 5)
        layer { name: "eval" type: "DetectionEvaluate" bottom: "det" bottom: "label" top: "eval"
          detection_evaluate_param { num_classes: 21 background_label_id: 20 } }
    """

    bottoms = 2
    records = False
    varying_tops = (0,)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        given = self.param.detection_evaluate_param
        self.refuse_fork_fields(given, others=("output_logits",))
        self.refuse_fork_fields(given.resize_param)
        if not 0 < given.num_classes <= MOST_CLASSES:
            self.error(
                f"detection_evaluate_param.num_classes: expected 1 to {MOST_CLASSES}, got "
                f"{given.num_classes}. Set it to the number of classes, the background included."
            )
        sizes, resize = [], None
        if given.name_size_file:
            path = self.find_file(given.name_size_file, "detection_evaluate_param.name_size_file")
            sizes = read_image_sizes(path)
            resize = resize_of(given, f"{self.where}: detection_evaluate_param")
        self._judge = Judge(given, sizes, resize, self.where)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        for blob, width in zip(bottom, (DETECTION, OBJECT), strict=True):
            if blob.num_axes != 4 or blob.shape[:2] != (1, 1) or blob.shape[3] != width:
                self.shape_error(
                    f"bottom '{blob.name}'",
                    f"rows of {width} numbers, shape (1, 1, rows, {width})",
                    f"shape {blob.shape}",
                    "Give it the top of a DetectionOutput layer, then the labels of an "
                    "AnnotatedData layer.",
                )
        top[0].reshape((1, 1, len(self._judge.labels) + bottom[0].shape[2], VERDICT))
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        detections, objects = (blob.data.read().reshape(blob.shape[2:]) for blob in bottom)
        rows = self._judge.rows(detections, objects, (bottom[0].name, bottom[1].name))
        top[0].reshape((1, 1, *rows.shape))
        top[0].data.write()[...] = rows

    def state(self) -> dict[str, Any]:
        return self._judge.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._judge.restore(state)
