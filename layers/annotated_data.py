"""AnnotatedData: batches of images with the boxes of the objects in them."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.data.annotated import AnnotatedBatch, AnnotatedSource
from caffepy.engine.data.box_changes import BoxChanges
from caffepy.engine.data.boxes import COLUMNS
from caffepy.engine.data.database_layer import DatabaseLayer
from caffepy.engine.data.records import RecordBatch
from caffepy.proto.caffe_pb2 import AnnotatedDataParameter, AnnotatedDatum

_KNOWN = ("batch_sampler", "label_map_file", "anno_type")


@register_layer("AnnotatedData")
class AnnotatedDataLayer(DatabaseLayer):
    """Records of a database in order of keys, with the boxes in them, transformed together.

    top[0]: (batch_size, C, H, W) float, images   top[1]: (1, 1, boxes, 8) float, the boxes of all
    images of the batch, whose number changes from batch to batch: index of the image in the batch,
    label, number among the objects of this label in the image, xmin, ymin, xmax, ymax in shares of
    the image, 1 for a difficult one; a batch without any box has one row of -1. Where records have
    no annotation type: (batch_size, 1, 1, 1), labels
    annotated_data_param: batch_sampler (none): windows that are tried, see below; anno_type (that
    of the first record): BBOX; label_map_file (none): not read; the others: of forks, refused
    data_param: source: the database's folder; batch_size; backend (LEVELDB): LEVELDB or LMDB;
    rand_skip (0): else start at a random one of the first so many records; prefetch (4): batches
    made ahead; force_encoded_color (false): decode to 3 channels; scale (1), mean_file (none),
    crop_size (0), mirror (false): old place, see transform_param
    transform_param: see engine/data/transformer.py

    transform_param has two more blocks here. expand_param: with probability `prob` (1) a border
    makes the image up to max_expand_ratio (1) times as wide and high; it is filled with mean_value.
    emit_constraint: which boxes stay that are seen in part; with emit_type CENTER those with their
    middle in the window, with MIN_OVERLAP those of which more than emit_overlap is in it; without
    the block all of them.

    Of each batch_sampler up to max_sample windows that meet its sample_constraint are found in
    max_trials (100) trials, and of all windows one is taken at random; where there is none, the
    whole image. sampler { } draws them: min_scale (1), max_scale (1), the side as a share of the
    image's; min_aspect_ratio (1), max_aspect_ratio (1), width by height. sample_constraint { }:
    some object has to have at least min_, and at most max_, so much in common with the window:
    jaccard_overlap (intersection over union), sample_coverage (share of the window that is in the
    box), object_coverage (share of the box that is in the window). use_original_image (true): false
    leaves the sampler out.

    Images change in this order: colours, border, window, then size, noise, crop, mirror, mean and
    scale. In phase TEST colours, border and window are left out. Random choices are a function of
    the sample's number.

    Raises: DataError where the database is missing or damaged or a record does not fit, naming its
    key; NetError for parameters that make no sense.
    Differs: in the SSD fork colours, border and window come in phase TEST too, and each of them
    packs an image that was packed as JPEG again; a sample_constraint of several kinds asks for the
    first of them only; raw images keep their colours, cannot be scaled, and get a border of 32.
    Source: the SSD fork. W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016.

    Example: -> data (2, 3, 8, 8), label (1, 1, 1, 8)
        layer { name: "data" type: "AnnotatedData" top: "data" top: "label"
          transform_param { mirror: true resize_param { height: 8 width: 8 } }
          data_param { source: "boxes_lmdb" batch_size: 2 backend: LMDB }
          annotated_data_param { batch_sampler { max_sample: 1 max_trials: 50
            sampler { min_scale: 0.3 } sample_constraint { min_jaccard_overlap: 0.5 } } } }
    """

    varying_tops = (1,)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param, annotated = self.param.data_param, self.param.annotated_data_param
        self._check(annotated)
        changes = BoxChanges(
            self.param.transform_param,
            annotated.batch_sampler,
            testing=self.testing,
            stream=self.sample_stream,
            where=self.where,
        )
        feed = self.make_feed(changes.rest)
        color = True if param.force_encoded_color else feed.transformer.color
        self.source: AnnotatedSource = AnnotatedSource(
            self.open_database(),
            feed,
            changes,
            self.random_skip(param.rand_skip),
            color,
            True if annotated.HasField("anno_type") else None,
        )
        self.start(top, self.source, param.batch_size, self.first_shape())
        if len(top) > 1:
            labels = (1, 1, 1, COLUMNS) if self.source.boxed else (param.batch_size, 1, 1, 1)
            top[1].reshape(labels)

    def note(self, batch: RecordBatch) -> None:
        super().note(batch)
        assert isinstance(batch, AnnotatedBatch), "what its source makes"
        self._items = batch.items

    def sample_at(self, top_index: int, place: int, shape: Shape) -> int:
        if top_index == 0 or not self.source.boxed:
            return super().sample_at(top_index, place, shape)
        row = place // COLUMNS % shape[2]  # SSD's losses count images in front of the rows
        return int(self._items[row]) if row < len(self._items) else 0

    def _check(self, param: AnnotatedDataParameter) -> None:
        defaults = AnnotatedDataParameter()
        for field, value in param.ListFields():
            if field.name not in _KNOWN and value != getattr(defaults, field.name):
                self.error(
                    f"annotated_data_param.{field.name}: expected a field of the SSD fork's, got "
                    "another's, which is not implemented here. Remove it."
                )
        if param.HasField("anno_type") and param.anno_type != AnnotatedDatum.BBOX:
            self.error(
                "annotated_data_param.anno_type: expected BBOX, got "
                f"{AnnotatedDatum.AnnotationType.Name(param.anno_type)}. Remove it."
            )
