"""The mean image of a database."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum
from caffepy.engine.data.db import Database
from caffepy.engine.files import written_whole
from caffepy.proto.caffe_pb2 import BlobProto

LOG_EVERY = 10_000  # records


def compute_mean(database: Database) -> np.ndarray:
    """(C, H, W) float32: the mean of all records of a database, which have one shape.

    Sums are exact for images of bytes; only the division by the number of records rounds.
    Raises: DataError for a record that cannot be read or has another shape, naming its key.
    """
    total: np.ndarray | None = None
    count = 0
    log.info("Starting iteration")
    for key, value in database.records():
        where = f"record '{key.decode('utf-8', 'backslashreplace')}' of '{database.path}'"
        image = datum.array(datum.parse(value, where), where)
        if total is None:
            total = np.zeros(image.shape)
        if image.shape != total.shape:
            raise DataError(
                f"{where}: expected shape {total.shape}, that of the records before, got "
                f"{image.shape}. Resize the images to one size when the database is made "
                "(convert_imageset --resize_width --resize_height)."
            )
        total += image  # in double precision, which holds integers up to 2^53
        count += 1
        if count % LOG_EVERY == 0:
            log.info(f"Processed {count} files.")
    assert total is not None, "open_db refuses empty databases"
    if count % LOG_EVERY:
        log.info(f"Processed {count} files.")
    return (total / count).astype(np.float32)


def write_mean(mean: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Writes a mean (C, H, W) as Caffe does: a BlobProto of four old-style axes.

    Raises: DataError where the file cannot be written; there is then none.
    """
    channels, height, width = mean.shape
    blob = BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(mean.reshape(-1).tolist())
    with written_whole(Path(path), DataError) as temporary:
        temporary.write_bytes(blob.SerializeToString())
