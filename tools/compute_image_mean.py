"""caffepy compute_image_mean: the mean image of a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffepy.tools.common import reader_threads_option

if TYPE_CHECKING:
    import numpy as np


@click.command()
@click.argument("input_db")
@click.argument("output_file", required=False)
@click.option("--backend", default="lmdb", help="lmdb or leveldb. [default: lmdb]")
@click.option("--png", metavar="FILE", help="Write the mean as a picture too: mean.png, mean.jpg.")
@reader_threads_option
def command(
    input_db: str, output_file: str | None, backend: str, png: str | None, threads: int
) -> None:
    """Writes the mean of the images in INPUT_DB to OUTPUT_FILE, a binaryproto for mean_file.

    The mean of each channel, for mean_value, is logged, without OUTPUT_FILE too. It is the same
    to the bit whatever the number of threads.
    """
    run(input_db, output_file, backend, png=png, threads=threads)


def run(
    input_db: str,
    output_file: str | None = None,
    backend: str = "lmdb",
    *,
    png: str | None = None,
    threads: int = 1,
) -> None:
    """Computes, logs and writes the mean. Raises: DataError."""
    from caffepy.engine.core import log
    from caffepy.engine.data.db import open_db
    from caffepy.engine.data.mean import compute_mean, write_mean
    from caffepy.tools.task import Task

    if png is not None:
        _check_picture(png)
    database = open_db(input_db, backend)
    try:
        with Task("records", database.count if backend.lower() == "lmdb" else None) as task:
            mean = compute_mean(database, threads, task.advance)
    finally:
        database.close()
    if output_file:
        log.info(f"Write to {output_file}")
        write_mean(mean, output_file)
    if png is not None:
        write_picture(mean, Path(png))
    log.info(f"Number of channels: {len(mean)}")
    for channel, value in enumerate(mean.mean(axis=(1, 2), dtype=float)):
        log.info(f"mean_value channel [{channel}]: {value:g}")


def write_picture(mean: np.ndarray, path: Path) -> None:
    """Writes a mean (C, H, W), of values 0 to 255, as a picture; one that has neither one channel
    nor three (BGR) as its channels side by side.

    Raises: DataError where it cannot be written.
    """
    import numpy as np

    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data import images
    from caffepy.engine.files import written_whole

    pixels = np.clip(np.rint(mean), 0, 255).astype(np.uint8)
    picture = pixels.transpose(1, 2, 0) if len(mean) == 3 else np.concatenate(pixels, axis=1)
    data = images.encode(np.ascontiguousarray(picture), path.suffix.removeprefix("."))
    with written_whole(path, DataError) as temporary:
        temporary.write_bytes(data)
    log.info(f"Write to {path}")


def _check_picture(name: str) -> None:
    """Raises: DataError where no picture can have this name."""
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data import images

    ending = Path(name).suffix.removeprefix(".")
    if not ending or not images.can_encode(ending):
        raise DataError(
            f"--png '{name}': expected a name that ends in the type of a picture, got "
            f"'{ending}'. Call it {Path(name).stem}.png."
        )
