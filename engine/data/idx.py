"""IDX files: MNIST's format, arrays of bytes after a header of big-endian numbers."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from caffepy.engine.core.errors import DataError

IMAGE_MAGIC, LABEL_MAGIC = 2051, 2049
_PIECE_BYTES = 1 << 20


def read(path: Path, magic: int) -> np.ndarray:
    """The bytes of a file, plain or gzipped: (count, rows, columns) for images, (count,) for
    labels.

    Raises: DataError where the file is missing, of another kind or cut off.
    """
    axes = 3 if magic == IMAGE_MAGIC else 1
    header = 4 + 4 * axes
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as source:
            start = source.read(header)
            numbers = np.frombuffer(start[4:].ljust(4 * axes, b"\0"), ">u4")
            shape = tuple(int(number) for number in numbers)
            expected = header + math.prod(shape)
            data = start + _at_most(source, expected + 1 - len(start))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise DataError(
            f"{path}: cannot be read: {reason}. Fix the path, or fetch the file again."
        ) from None
    kind = "images" if magic == IMAGE_MAGIC else "labels"
    found = int.from_bytes(data[:4], "big")
    if len(data) < 8 or found != magic:
        remedy = (
            "Give the images first and the labels second."
            if found in (IMAGE_MAGIC, LABEL_MAGIC)
            else "Fetch the file again."
        )
        raise DataError(
            f"{path}: expected an IDX file of {kind} (magic number {magic}), got one with {found}. "
            f"{remedy}"
        )
    if expected == header <= len(data):
        raise DataError(f"{path}: expected {kind}, got a file with none. Fetch it again.")
    if len(data) != expected:
        raise DataError(
            f"{path}: expected {expected} bytes for {kind} of shape {shape}, got "
            f"{len(data) if len(data) < expected else 'more'}. "
            "Fetch the file again."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _at_most(source: IO[bytes] | gzip.GzipFile, count: int) -> bytes:
    """The next bytes, however many more are zipped."""
    pieces = list[bytes]()
    while count > 0 and (piece := source.read(min(count, _PIECE_BYTES))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def write(path: Path, array: np.ndarray) -> None:
    """Writes images (count, rows, columns) or labels (count,), uint8."""
    magic = IMAGE_MAGIC if array.ndim == 3 else LABEL_MAGIC
    header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    path.write_bytes(header + array.tobytes())
