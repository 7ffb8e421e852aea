"""Data: batches of records from an LMDB or LevelDB."""

from __future__ import annotations

from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.database_layer import DatabaseLayer
from caffepy.engine.data.device_feed import DeviceFeed
from caffepy.engine.data.kept_records import KeptRecords
from caffepy.engine.data.records import RecordSource


@register_layer("Data")
class DataLayer(DatabaseLayer):
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
        feed = self.make_feed()
        database = self.open_database()
        skip = self.random_skip(param.rand_skip)
        color = True if param.force_encoded_color else feed.transformer.color
        if self.ops.keeps_data and isinstance(feed, DeviceFeed):
            self.source = KeptRecords(database, feed, skip, color)
        else:
            self.source = RecordSource(database, feed, skip, color)
        self.start(top, self.source, param.batch_size, self.first_shape())
