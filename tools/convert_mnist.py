"""caffepy convert_mnist: MNIST's IDX files into a database."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np

IMAGE_MAGIC, LABEL_MAGIC = 2051, 2049
LOG_EVERY = 1000  # images


@click.command()
@click.argument("image_file")
@click.argument("label_file")
@click.argument("db_path")
@click.option("--backend", default="lmdb", help="lmdb or leveldb. [default: lmdb]")
@click.option("--start", default=0, help="Number of the first image to take. [default: 0]")
@click.option("--count", type=int, help="How many images to take. [default: all]")
def command(
    image_file: str, label_file: str, db_path: str, backend: str, start: int, count: int | None
) -> None:
    """Puts the images and labels of IDX files, plain or gzipped, into the new database DB_PATH."""
    run(image_file, label_file, db_path, backend=backend, start=start, count=count)


def run(
    image_file: str,
    label_file: str,
    db_path: str,
    *,
    backend: str = "lmdb",
    start: int = 0,
    count: int | None = None,
) -> int:
    """Writes the database; returns the number of images in it. Keys are the images' numbers.

    Raises: DataError where the files are no IDX files of images and labels, or do not fit each
    other.
    """
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data import datum
    from caffepy.engine.data.db import create_db

    images = read_idx(Path(image_file), IMAGE_MAGIC)
    labels = read_idx(Path(label_file), LABEL_MAGIC)
    if len(images) != len(labels):
        raise DataError(
            f"{label_file}: expected {len(images)} labels, one for each image of '{image_file}', "
            f"got {len(labels)}. Give the two files that belong together."
        )
    count = max(0, len(images) - start) if count is None else count
    end = start + count
    if not 0 <= start < end <= len(images):
        raise DataError(
            f"{image_file}: --start {start} --count {count}: expected a part of the {len(images)} "
            "images, got one that is empty or that they do not have. Choose another."
        )
    log.info(f"A total of {end - start} items.")
    log.info(f"Rows: {images.shape[1]} Cols: {images.shape[2]}")
    with create_db(db_path, backend) as writer:
        for number in range(start, end):
            record = datum.raw(images[number][None], int(labels[number]))
            record.ClearField("encoded")  # as in Caffe's own converter: equal bytes
            writer.put(b"%08d" % number, record.SerializeToString())
            if (number - start + 1) % LOG_EVERY == 0:
                log.info(f"Processed {number - start + 1} files.")
    if (end - start) % LOG_EVERY:
        log.info(f"Processed {end - start} files.")
    return end - start


def read_idx(path: Path, magic: int) -> np.ndarray:
    """The bytes of an IDX file: (count, rows, columns) for images, (count,) for labels.

    Raises: DataError where the file is missing, of another kind or cut off.
    """
    import numpy as np

    from caffepy.engine.core.errors import DataError

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
