"""Data: batches of records from an LMDB or LevelDB."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError, DeviceError
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.db import open_db
from caffepy.engine.data.device_feed import DeviceFeed
from caffepy.engine.data.kept_records import KeptRecords
from caffepy.engine.data.prefetching_layer import PrefetchingDataLayer
from caffepy.engine.data.records import RecordBatch, RecordSource
from caffepy.proto.caffe_pb2 import DataParameter

# What forks know besides and what changes no number is passed over; the rest is refused.
_KNOWN = {"source", "batch_size", "rand_skip", "backend", "force_encoded_color", "prefetch"}
_HARMLESS = {"threads", "parser_threads", "disk_reader_threads", "cache", "precache"}


@register_layer("Data")
class DataLayer(PrefetchingDataLayer[RecordBatch]):
    """Records of a database in order of keys, transformed; after the last comes the first again.

    top[0]: (batch_size, C, H, W) float, images   top[1]: (batch_size,) float, labels
    data_param: source: the database's folder; batch_size; backend (LEVELDB): LEVELDB or LMDB;
    rand_skip (0): else start at a random one of the first so many records; prefetch (4): batches
    made ahead; force_encoded_color (false): decode to 3 channels; scale (1), mean_file (none),
    crop_size (0), mirror (false): old place, see transform_param
    transform_param: see engine/data/transformer.py

    The first record of a batch gives its shape; all records of a batch must have one. Of annotated
    records (the SSD family's) it gives image and label, and no boxes.

    Raises: DataError where the database is missing or damaged or a record does not fit, naming its
    key.
    Source: Caffe's layer catalogue, Database Input.

    Example: -> data (4, 1, 8, 8), label (4)
        layer { name: "data" type: "Data" top: "data" top: "label"
          transform_param { scale: 0.00390625 }
          data_param { source: "train_lmdb" batch_size: 4 backend: LMDB } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.data_param
        self._check(param)
        path = self.find_file(param.source, "data_param.source")
        backend: str = DataParameter.DB.Name(param.backend)
        feed = self.make_feed()
        skip = self.random_skip(param.rand_skip)
        color = True if param.force_encoded_color else feed.transformer.color
        try:
            database = open_db(path, backend)
        except (DataError, DeviceError) as error:
            raise type(error)(f"{self.where}: {error}") from None
        if self.ops.keeps_data and isinstance(feed, DeviceFeed):
            self._source: RecordSource = KeptRecords(database, feed, skip, color)
        else:
            self._source = RecordSource(database, feed, skip, color)
        record, shape = self._source.first_record()
        if color is not None and not record.encoded:
            log.warning(f"{self.where}: force_color and force_gray act on encoded images only.")
        self._last_key = b""
        self.start(top, self._source, param.batch_size, shape)

    def note(self, batch: RecordBatch) -> None:
        super().note(batch)
        self._last_key = batch.last_key

    def state(self) -> dict[str, Any]:
        return {**super().state(), "last_key": self._last_key.decode("latin-1")}

    def restore(self, state: dict[str, Any]) -> None:
        self._last_key = state["last_key"].encode("latin-1")
        if self._last_key:
            self._source.follow(state["sample"], self._last_key)
        super().restore(state)

    def _check(self, param: DataParameter) -> None:
        self.check_batch_size("data_param")
        names = {field.name for field, _ in param.ListFields()}
        for name in sorted(names - _KNOWN - _HARMLESS):
            self.error(
                f"data_param.{name}: this layer does not know it. Remove it; for another order or "
                "choice of records write the database anew (convert_imageset --shuffle)."
            )
