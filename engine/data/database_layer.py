"""What the layers share that read a database."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError, DeviceError
from caffepy.engine.data.db import Database, open_db
from caffepy.engine.data.prefetching_layer import PrefetchingDataLayer
from caffepy.engine.data.records import RecordBatch, RecordSource
from caffepy.proto.caffe_pb2 import DataParameter

# What forks know besides and what changes no number is passed over; the rest is refused.
_KNOWN = {"source", "batch_size", "rand_skip", "backend", "force_encoded_color", "prefetch"}
_HARMLESS = {"threads", "parser_threads", "disk_reader_threads", "cache", "precache"}


class DatabaseLayer(PrefetchingDataLayer[RecordBatch]):
    """Records of a database; the last key goes into snapshots, so that a run goes on after it.

    A subclass sets `source` in `setup`, before `start`.
    """

    source: RecordSource
    _last_key = b""  # before the first batch

    def open_database(self) -> Database:
        """The database of data_param. Raises: DataError, DeviceError where it cannot be opened;
        NetError for fields that this does not know."""
        param = self.param.data_param
        self.check_batch_size("data_param")
        names = {field.name for field, _ in param.ListFields()}
        for name in sorted(names - _KNOWN - _HARMLESS):
            self.error(
                f"data_param.{name}: this layer does not know it. Remove it; for another order or "
                "choice of records write the database anew (convert_imageset --shuffle)."
            )
        path = self.find_file(param.source, "data_param.source")
        try:
            return open_db(path, DataParameter.DB.Name(param.backend))
        except (DataError, DeviceError) as error:
            raise type(error)(f"{self.where}: {error}") from None

    def first_shape(self) -> tuple[int, ...]:
        """The transformed shape (C, H, W) of the source's first record."""
        record, shape = self.source.first_record()
        if self.source.color is not None and not record.encoded:
            log.warning(f"{self.where}: force_color and force_gray act on encoded images only.")
        return shape

    def note(self, batch: RecordBatch) -> None:
        super().note(batch)
        self._last_key = batch.last_key

    def state(self) -> dict[str, Any]:
        return {**super().state(), "last_key": self._last_key.decode("latin-1")}

    def restore(self, state: dict[str, Any]) -> None:
        self._last_key = state["last_key"].encode("latin-1")
        if self._last_key:
            self.source.follow(state["sample"], self._last_key)
        super().restore(state)
