"""Data: batches of records from an LMDB or LevelDB."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError, DeviceError
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.random import Stream
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.db import open_db
from caffepy.engine.data.pipeline import Prefetcher
from caffepy.engine.data.records import RecordBatch, RecordSource
from caffepy.engine.data.transformer import Transformer
from caffepy.proto.caffe_pb2 import DataParameter

# What forks know besides and what changes no number is passed over; the rest is refused.
_KNOWN = {"source", "batch_size", "rand_skip", "backend", "force_encoded_color", "prefetch"}
_HARMLESS = {"threads", "parser_threads", "disk_reader_threads", "cache", "precache"}


@register_layer("Data")
class DataLayer(Layer):
    """Records of a database in order of keys, transformed; after the last comes the first again.

    top[0]: (batch_size, C, H, W) float, images   top[1]: (batch_size,) float, labels
    data_param: source; batch_size; backend (LEVELDB); rand_skip (0: else start at a random one of
    the first so many records); prefetch (4 batches made ahead); force_encoded_color (false)
    transform_param: see engine/data/transformer.py

    The first record of a batch gives its shape; all records of a batch must have one.

    Raises: DataError where the database is missing or damaged or a record does not fit, naming its
    key.
    Source: Caffe's layer catalogue, Database Input.
    """

    bottoms = 0
    tops = (1, 2)
    records = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.data_param
        self._check(param)
        path = self.find_file(param.source, "data_param.source")
        backend: str = DataParameter.DB.Name(param.backend)
        seed = self.context.seed
        transformer = Transformer(
            self.param.transform_param,
            testing=self.testing,
            stream=Stream(seed, self.name, "transform"),  # without the rank: samples are numbered
            dtype=self.ops.dtype,
            where=self.where,
            find_file=self.find_file,
        )
        skip = 0
        if param.rand_skip:
            skip = int(Stream(seed, self.name, "rand_skip").integers(0, 1, param.rand_skip)[0])
            log.info(f"Skipping first {skip} data points.")
        color = True if param.force_encoded_color else transformer.color
        try:
            database = open_db(path, backend)
        except (DataError, DeviceError) as error:
            raise type(error)(f"{self.where}: {error}") from None
        self._source = RecordSource(database, transformer, skip, color)
        record, shape = self._source.first_record()
        if color is not None and not record.encoded:
            log.warning(f"{self.where}: force_color and force_gray act on encoded images only.")
        top[0].reshape((param.batch_size, *shape))
        log.info(f"output data size: {','.join(map(str, top[0].shape))}")
        if len(top) > 1:
            top[1].reshape((param.batch_size,))
        self._last_key = b""
        self._batches: Prefetcher[RecordBatch] = Prefetcher(
            self._source, param.batch_size, param.prefetch
        )

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        batch = self._batches.next()
        self._last_key = batch.last_key
        top[0].reshape(batch.data.shape)
        top[0].data.write()[...] = batch.data
        if len(top) > 1:
            top[1].data.write()[...] = batch.labels

    def state(self) -> dict[str, Any]:
        return {"sample": self._batches.position, "last_key": self._last_key.decode("latin-1")}

    def restore(self, state: dict[str, Any]) -> None:
        self._last_key = state["last_key"].encode("latin-1")
        if self._last_key:
            self._source.follow(state["sample"], self._last_key)
        self._batches.seek(state["sample"])

    def close(self) -> None:
        if hasattr(self, "_batches"):  # setup came that far
            self._batches.close()

    def _check(self, param: DataParameter) -> None:
        if param.batch_size == 0:
            self.error("data_param.batch_size: expected at least 1, got 0. Set it.")
        names = {field.name for field, _ in param.ListFields()}
        for name in sorted(names - _KNOWN - _HARMLESS):
            self.error(
                f"data_param.{name}: this layer does not know it. Remove it; for another order or "
                "choice of records write the database anew (convert_imageset --shuffle)."
            )
