"""DetectionOutput: the objects that a net has found, out of the boxes of all its priors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.detection_files import FORMATS, DetectionFiles
from caffepy.engine.data.image_sizes import read_image_sizes, resize_of
from caffepy.engine.data.label_map import read_label_map
from caffepy.engine.ops.detection_geometry import DetectionGeometry
from caffepy.proto.caffe_pb2 import PriorBoxParameter, SaveOutputParameter
from caffepy.proto.errors import did_you_mean

_ROW = 7  # image, label, score and box
_NONE = -1


@register_layer("DetectionOutput")
class DetectionOutputLayer(Layer):
    """Turns the locations of priors into boxes, and picks in each class those of high scores that
    do not overlap a better one.

    bottom[0]: (N, P * 4) locations of P priors, (N, P * num_classes * 4) without share_location
    bottom[1]: (N, P * num_classes) scores, the classes of a prior side by side
    bottom[2]: (1, 2, P * 4) the priors' boxes, then their variances
    bottom[3]: the images, of no use here; may be left out
    top[0]: (1, 1, D, 7) what was found: (image, label, score, xmin, ymin, xmax, ymax), by image,
    label and falling score; boxes are fractions of the image and may leave it. An image without
    detections has no rows; where none has any: (image, -1, ..., -1) for each
    detection_output_param: num_classes: with the background; share_location (true): one location
    for all classes of a prior; background_label_id (0): the class that gives no boxes, none for
    -1; code_type (CORNER): how locations t are written, with a prior's size s and variances v,
    CORNER as prior + v t, CORNER_SIZE as prior + v t s, CENTER_SIZE as centre + v t s and
    s exp(v t); variance_encoded_in_target (false): v is 1; confidence_threshold (none): scores must
    be above it; nms_param (none): top_k, of the best scores of a class that are looked at, all by
    default, nms_threshold (0.3), as boxes that overlap a better one more are dropped, and eta (1),
    what it is multiplied by after each box that stays while it is above 0.5; keep_top_k (-1): how
    many stay in an image, the best of all classes, -1 for all; save_output_param (none): files to
    write, see below; visualize (false): true is refused; visualize_threshold (none), save_file
    (none): of use with visualize only; objectness_score (0.01), output_logits (false): another
    fork's, refused

    With save_output_param, detections are written to output_directory when those of num_test_image
    images are there, all that name_size_file lists by default: it has name, height and width of
    each image on a line, in the order in which the net gets them, and resize_param says how they
    were made to fit into the net. output_format is VOC, ILSVRC or COCO, output_name_prefix begins
    the files' names, and label_map_file is a prototxt with the names of the classes. Without it or
    name_size_file nothing is written, as a warning says. The layer is for phase TEST.

    Raises: NetError for missing or other fields, and where a gradient is asked for; ShapeError for
    bottoms that do not fit; DataError for what is wrong with the files that it reads or writes.
    Differs: visualize is refused, as the commands show no windows; the fork deletes
    output_directory with all that is in it, where files of other names stay here; it leaves out
    the quotes around names like 007, which is no JSON; it refuses background_label_id -1 with
    share_location.
    Source: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, and the fork to it.

    Example: loc (2, 16), conf (2, 12), priors (1, 2, 16) -> found (1, 1, 10, 7)
        layer { name: "found" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors"
          top: "found" detection_output_param {
            num_classes: 3 code_type: CENTER_SIZE confidence_threshold: 0.01 keep_top_k: 5
            nms_param { nms_threshold: 0.45 top_k: 400 } } }
    """

    bottoms = (3, 4)
    records = False
    varying_tops = (0,)

    _files: DetectionFiles | None = None

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        asked = self.param.detection_output_param
        self.refuse_fork_fields(asked, others=("objectness_score", "output_logits"))
        self.refuse_fork_fields(asked.nms_param, others=("soft_nms", "theta"))
        self.refuse_fork_fields(asked.save_output_param.resize_param)
        if asked.visualize:
            self.error(
                "detection_output_param.visualize: expected false, since no windows are shown "
                "here, got true. Remove it, and draw the rows of the top in Python."
            )
        # labels are float: with more classes these could not be told from each other
        classes = asked.num_classes
        self._check_range("num_classes", classes, 0 < classes <= 2**24, "at least 1, up to 2^24")
        self._check_range(
            "background_label_id",
            asked.background_label_id,
            -1 <= asked.background_label_id < asked.num_classes,
            f"-1 to {asked.num_classes - 1}",
        )
        threshold, eta = asked.nms_param.nms_threshold, asked.nms_param.eta
        self._check_range("nms_param.nms_threshold", threshold, threshold >= 0, "0 or more")
        self._check_range("nms_param.eta", eta, 0 < eta <= 1, "above 0 and up to 1")
        if asked.save_output_param.output_directory:
            self._files = self._open_files(asked.save_output_param)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        asked = self.param.detection_output_param
        loc, conf, priors = bottom[:3]
        if priors.num_axes < 3 or priors.shape[:2] != (1, 2) or priors.count % 8:
            self.shape_error(
                f"bottom '{priors.name}', the priors",
                "boxes and variances, shape (1, 2, priors * 4)",
                f"shape {priors.shape}",
                "Give it the top of PriorBox layers, joined along axis 2.",
            )
        count = priors.count // 8
        images = loc.shape[0] if loc.num_axes else 0
        places = 1 if asked.share_location else asked.num_classes
        for blob, size, what in (
            (loc, count * places * 4, "locations"),
            (conf, count * asked.num_classes, "scores"),
        ):
            if blob.num_axes < 2 or blob.shape[0] != images or blob.count != images * size:
                self.shape_error(
                    f"bottom '{blob.name}', the {what}",
                    f"({images}, {size}) for the {count} priors of '{priors.name}'",
                    f"shape {blob.shape}",
                    "Correct num_output of the layers below it, or num_classes.",
                )
        nms = asked.nms_param
        self.op = self.ops.detection_output(
            DetectionGeometry(
                images=images,
                priors=count,
                classes=asked.num_classes,
                background=asked.background_label_id,
                shared=asked.share_location,
                code_type=PriorBoxParameter.CodeType.Name(asked.code_type),
                variance_encoded_in_target=asked.variance_encoded_in_target,
                threshold=(
                    asked.confidence_threshold
                    if asked.HasField("confidence_threshold")
                    else float(-np.finfo(np.float32).max)
                ),
                top_k=nms.top_k if nms.HasField("top_k") else -1,
                nms_threshold=nms.nms_threshold,
                eta=nms.eta,
                keep_top_k=asked.keep_top_k,
            )
        )
        top[0].reshape((1, 1, 1, _ROW))
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        found = self.op.detect(*(blob.data for blob in bottom[:3]))
        images = bottom[0].shape[0]
        rows = found
        if not len(found):
            rows = np.full((images, _ROW), _NONE, found.dtype)
            rows[:, 0] = np.arange(images)
        top[0].reshape((1, 1, *rows.shape))
        top[0].data.write()[...] = rows
        if self._files is not None:
            self._files.add(found, images)

    def state(self) -> dict[str, Any]:
        return {} if self._files is None else self._files.state()

    def restore(self, state: dict[str, Any]) -> None:
        if self._files is not None:
            self._files.restore(state)

    def close(self) -> None:
        if self._files is not None:
            self._files.close()

    def _check_range(self, field: str, value: float, good: bool, expected: str) -> None:
        if not good:
            self.error(
                f"detection_output_param.{field}: expected {expected}, got {value:g}. Correct it."
            )

    def _open_files(self, param: SaveOutputParameter) -> DetectionFiles | None:
        """Where detections are saved; None, with a warning, where the fork saves none either."""
        place = "detection_output_param.save_output_param"
        for field in ("label_map_file", "name_size_file"):
            if not getattr(param, field):
                log.warning(
                    f"{self.where}: {place}.{field}: expected one with output_directory, got none: "
                    "no detections are saved. Name the file, or remove output_directory."
                )
                return None
        if param.output_format not in FORMATS:
            remedy = did_you_mean(param.output_format, FORMATS) or " Use one of these."
            self.error(
                f"{place}.output_format: expected one of {', '.join(FORMATS)}, got "
                f"'{param.output_format}'.{remedy}"
            )
        path = self.find_file(param.label_map_file, f"{place}.label_map_file")
        given = {item.label: item.name for item in read_label_map(path).item}
        geometry = self.param.detection_output_param
        names = {}
        for label in range(geometry.num_classes):
            if label == geometry.background_label_id:
                continue
            names[label] = given.get(label, "")
            if not names[label] or "/" in names[label] or "\0" in names[label]:
                self.error(
                    f"{place}.label_map_file: expected a name that a file can have for label "
                    f"{label}, got '{names[label]}' in '{path}'. Correct the map, or num_classes."
                )
        sizes = read_image_sizes(self.find_file(param.name_size_file, f"{place}.name_size_file"))
        wanted = param.num_test_image if param.HasField("num_test_image") else len(sizes)
        if not 0 < wanted <= len(sizes):
            self.error(
                f"{place}.num_test_image: expected 1 to {len(sizes)}, the number of images in "
                f"'{param.name_size_file}', got {wanted}. Correct it."
            )
        return DetectionFiles(
            Path(param.output_directory),
            param.output_name_prefix,
            param.output_format,
            names,
            sizes[:wanted],
            resize_of(param, f"{self.where}: {place}"),
            self.where,
        )
