"""The mean image of a database."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum, images, raw_records
from caffepy.engine.data.db import Database, Record
from caffepy.engine.data.in_order import in_order
from caffepy.engine.files import written_whole
from caffepy.proto.caffe_pb2 import BlobProto

LOG_EVERY = 10_000  # records
TOGETHER, TOGETHER_BYTES = 256, 1 << 24  # records that a thread adds up: floats hold it exactly
PART_BYTES = 1 << 19  # of records that are taken apart together


def compute_mean(
    database: Database, threads: int = 1, tell: Callable[[int], None] | None = None
) -> np.ndarray:
    """(C, H, W) float32: the mean of all records of a database, which have one shape.

    Sums are exact for images of bytes; only the division by the number of records rounds. Floats
    are added up in an order that does not depend on the number of threads.
    tell: called with the number of records that have become more.
    Raises: DataError for a record that cannot be read or has another shape, naming its key.
    """
    first, parts = _look_ahead(_pieces(database.records(), TOGETHER, TOGETHER_BYTES))
    record = datum.parse(first[1], _where(database, first[0]))
    if record.encoded:
        log.info("Decoding Datum")
    shape = datum.array(record, _where(database, first[0])).shape

    def added(piece: list[Record]) -> tuple[np.ndarray, int]:
        return _sum(database, piece, shape), len(piece)

    total, count = np.zeros(shape), 0  # double precision holds integers up to 2^53
    log.info("Starting iteration")
    for part, more in in_order(added, parts, threads):
        total += part
        if (count + more) // LOG_EVERY > count // LOG_EVERY:
            log.info(f"Processed {(count + more) // LOG_EVERY * LOG_EVERY} files.")
        count += more
        if tell is not None:
            tell(more)
    if count % LOG_EVERY:
        log.info(f"Processed {count} files.")
    return (total / count).astype(np.float32)


def _pieces(records: Iterable[Record], most: int, most_bytes: int) -> Iterator[list[Record]]:
    """The records, in lists of a size that depends on them alone."""
    piece: list[Record] = []
    size = 0
    for record in records:
        piece.append(record)
        size += len(record[1])
        if len(piece) == most or size >= most_bytes:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _look_ahead(pieces: Iterator[list[Record]]) -> tuple[Record, Iterator[list[Record]]]:
    """The first record, and all pieces."""
    first = next(pieces)  # open_db refuses empty databases
    return first[0], itertools.chain([first], pieces)


def _sum(database: Database, piece: list[Record], shape: tuple[int, ...]) -> np.ndarray:
    """Of the images of some records: (C, H, W), float32 where all are of bytes, else float64."""
    total = _Total(shape)
    for part in _pieces(piece, TOGETHER, PART_BYTES):
        raw = raw_records.views([value for _, value in part])
        found = _images(database, part) if raw is None else raw
        for (key, _), image in zip(part, found, strict=True):
            if image.shape != shape:
                raise DataError(
                    f"{_where(database, key)}: expected shape {shape}, that of the records before, "
                    f"got {image.shape}. Resize the images to one size when the database is made "
                    "(convert_imageset --resize_width --resize_height)."
                )
            total.add(image)
    return total.result()


def _images(database: Database, part: list[Record]) -> Iterator[np.ndarray]:
    """Those of records that are not raw, or not alike. Raises: DataError."""
    for key, value in part:
        where = _where(database, key)
        yield datum.array(datum.parse(value, where), where)


class _Total:
    """The sum of up to TOGETHER images (C, H, W) of a shape, exact for those of bytes, which are
    added as they lie in memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        channels, height, width = self._shape = shape
        self._planes = np.zeros((channels * height, width), np.float32)
        self._pixels = np.zeros((height, width * channels), np.float32)  # that lie pixel by pixel
        self._floats: np.ndarray | None = None
        self._accumulate = images.opencv().accumulate

    def add(self, image: np.ndarray) -> None:
        """image: (C, H, W) uint8 or floats."""
        if images.is_interleaved(image):
            rows = image.transpose(1, 2, 0).reshape(self._pixels.shape)
            self._accumulate(rows, self._pixels)
        elif image.dtype == np.uint8:
            self._accumulate(image.reshape(self._planes.shape), self._planes)
        else:
            if self._floats is None:
                self._floats = np.zeros(self._shape)
            self._floats += image

    def result(self) -> np.ndarray:
        channels, height, width = self._shape
        total = self._planes.reshape(self._shape)
        total += self._pixels.reshape(height, width, channels).transpose(2, 0, 1)
        return total if self._floats is None else total + self._floats


def _where(database: Database, key: bytes) -> str:
    return f"record '{key.decode('utf-8', 'backslashreplace')}' of '{database.path}'"


def write_mean(mean: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Writes a mean (C, H, W) as Caffe does: a BlobProto of four old-style axes.

    Raises: DataError where the file cannot be written; there is then none.
    """
    channels, height, width = mean.shape
    blob = BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(mean.reshape(-1).tolist())
    with written_whole(Path(path), DataError) as temporary:
        temporary.write_bytes(blob.SerializeToString())
