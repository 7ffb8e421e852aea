"""IDX files: MNIST's format, arrays of bytes after a header of big-endian numbers."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from caffepy.engine.core.errors import DataError

IMAGE_MAGIC, LABEL_MAGIC = 2051, 2049


def read(path: Path, magic: int) -> np.ndarray:
    """The bytes of a file, plain or gzipped: (count, rows, columns) for images, (count,) for
    labels.

    Raises: DataError where the file is missing, of another kind or cut off.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
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
    axes = 3 if magic == IMAGE_MAGIC else 1
    header = 4 + 4 * axes
    shape = tuple(int(size) for size in np.frombuffer(data[4:header].ljust(4 * axes, b"\0"), ">u4"))
    expected = header + int(np.prod(shape, dtype=object))
    if expected == header <= len(data):
        raise DataError(f"{path}: expected {kind}, got a file with none. Fetch it again.")
    if len(data) != expected:
        raise DataError(
            f"{path}: expected {expected} bytes for {kind} of shape {shape}, got {len(data)}. "
            "Fetch the file again."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def write(path: Path, array: np.ndarray) -> None:
    """Writes images (count, rows, columns) or labels (count,), uint8."""
    magic = IMAGE_MAGIC if array.ndim == 3 else LABEL_MAGIC
    header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    path.write_bytes(header + array.tobytes())
