"""caffepy compute_image_mean: the mean image of a database."""

from __future__ import annotations

import click


@click.command()
@click.argument("input_db")
@click.argument("output_file", required=False)
@click.option("--backend", default="lmdb", help="lmdb or leveldb. [default: lmdb]")
def command(input_db: str, output_file: str | None, backend: str) -> None:
    """Writes the mean of the images in INPUT_DB to OUTPUT_FILE, a binaryproto for mean_file.

    The mean of each channel, for mean_value, is logged, without OUTPUT_FILE too.
    """
    run(input_db, output_file, backend)


def run(input_db: str, output_file: str | None = None, backend: str = "lmdb") -> None:
    """Computes, logs and writes the mean. Raises: DataError."""
    from caffepy.engine.core import log
    from caffepy.engine.data.db import open_db
    from caffepy.engine.data.mean import compute_mean, write_mean

    database = open_db(input_db, backend)
    try:
        mean = compute_mean(database)
    finally:
        database.close()
    if output_file:
        log.info(f"Write to {output_file}")
        write_mean(mean, output_file)
    log.info(f"Number of channels: {len(mean)}")
    for channel, value in enumerate(mean.mean(axis=(1, 2), dtype=float)):
        log.info(f"mean_value channel [{channel}]: {value:g}")
