"""The mean image of a database."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
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
TOGETHER, TOGETHER_BYTES = 64, 1 << 20  # records that a thread takes: the cache holds them
EXACT = 1 << 16  # images of bytes whose sum single precision holds exactly


def compute_mean(
    database: Database, threads: int = 1, tell: Callable[[int], None] | None = None
) -> np.ndarray:
    """(C, H, W) float32: the mean of all records of a database, which have one shape.

    Sums are exact for images of bytes; only the division by the number of records rounds. Floats
    are added up in an order that does not depend on the number of threads.
    tell: called with the number of records that have become more.
    Raises: DataError for a record that cannot be read or has another shape, naming its key.
    """
    first, parts = _look_ahead(_pieces(database.records()))
    record = datum.parse(first[1], _where(database, first[0]))
    if record.encoded:
        log.info("Decoding Datum")
    shape = datum.array(record, _where(database, first[0])).shape

    sums = _Sums(shape)
    total, count = np.zeros(shape), 0  # double precision holds integers up to 2^53
    log.info("Starting iteration")
    for floats, more in in_order(lambda piece: _add(database, piece, sums), parts, threads):
        if floats is not None:
            total += floats
        if (count + more) // LOG_EVERY > count // LOG_EVERY:
            log.info(f"Processed {(count + more) // LOG_EVERY * LOG_EVERY} files.")
        count += more
        if tell is not None:
            tell(more)
    total += sums.result()
    if count % LOG_EVERY:
        log.info(f"Processed {count} files.")
    return (total / count).astype(np.float32)


def _pieces(records: Iterator[Record]) -> Iterator[list[Record]]:
    """The records, in lists of a size that depends on them alone."""
    piece: list[Record] = []
    size = 0
    for record in records:
        piece.append(record)
        size += len(record[1])
        if len(piece) == TOGETHER or size >= TOGETHER_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _look_ahead(pieces: Iterator[list[Record]]) -> tuple[Record, Iterator[list[Record]]]:
    """The first record, and all pieces."""
    first = next(pieces)  # open_db refuses empty databases
    return first[0], itertools.chain([first], pieces)


def _add(database: Database, piece: list[Record], sums: _Sums) -> tuple[np.ndarray | None, int]:
    """Adds the images of bytes among some records to `sums`. Gives the sum of the others, (C, H, W)
    float64, None where there is none, and how many records these are."""
    raw, floats = raw_records.views([value for _, value in piece]), None
    found = _images(database, piece) if raw is None else raw
    for (key, _), image in zip(piece, found, strict=True):
        if image.shape != sums.shape:
            raise DataError(
                f"{_where(database, key)}: expected shape {sums.shape}, that of the records "
                f"before, got {image.shape}. Resize the images to one size when the database is "
                "made (convert_imageset --resize_width --resize_height)."
            )
        if image.dtype == np.uint8:
            sums.add(image)
        else:
            floats = image.astype(float) if floats is None else floats + image
    return floats, len(piece)


def _images(database: Database, part: list[Record]) -> Iterator[np.ndarray]:
    """Those of records that are not raw, or not alike. Raises: DataError."""
    for key, value in part:
        where = _where(database, key)
        yield datum.array(datum.parse(value, where), where)


class _Sums:
    """The sums of images of bytes, one for each thread that adds some: exact, so that nothing
    depends on which adds what. shape: (C, H, W), of all of them."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._own = threading.local()
        self._all: list[_Sum] = []

    def add(self, image: np.ndarray) -> None:
        """image: of a record, (C, H, W)."""
        if not hasattr(self._own, "sum"):
            self._own.sum = _Sum(self.shape)
            self._all.append(self._own.sum)
        self._own.sum.add(image)

    def result(self) -> np.ndarray:
        """(C, H, W) float64."""
        total = np.zeros(self.shape)
        for part in self._all:
            total += part.result()
        return total


class _Sum:
    """A sum of images of bytes, which are added as they lie in memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        channels, height, width = self._shape = shape
        self._total = np.zeros(shape)
        self._planes = np.zeros((channels * height, width), np.float32)
        self._pixels = np.zeros((height, width * channels), np.float32)  # that lie pixel by pixel
        self._count = 0
        self._accumulate = images.opencv().accumulate

    def add(self, image: np.ndarray) -> None:
        """image: (C, H, W)."""
        if images.is_interleaved(image):
            rows = image.transpose(1, 2, 0).reshape(self._pixels.shape)
            self._accumulate(rows, self._pixels)
        else:
            self._accumulate(image.reshape(self._planes.shape), self._planes)
        self._count += 1
        if self._count == EXACT:
            self.result()

    def result(self) -> np.ndarray:
        """(C, H, W) float64."""
        channels, height, width = self._shape
        self._total += self._planes.reshape(self._shape)
        self._total += self._pixels.reshape(height, width, channels).transpose(2, 0, 1)
        self._planes[...] = self._pixels[...] = self._count = 0
        return self._total


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
