"""caffepy convert_imageset: images and labels into a database."""

from __future__ import annotations

from pathlib import Path

import click

from caffepy.tools.common import conversion_options
from caffepy.tools.conversion import Images, Read, Size, in_order_of, rooted, stamp, write
from caffepy.tools.stored_image import ImageOptions, stored_image


@click.command()
@click.argument("root_folder")
@click.argument("list_file")
@click.argument("db_name")
@click.option("--gray/--no-gray", help="Store gray images instead of color ones.")
@click.option("--shuffle/--no-shuffle", help="Shuffle images and labels, always in the same way.")
@click.option("--backend", default="lmdb", help="lmdb or leveldb. [default: lmdb]")
@conversion_options
def command(
    root_folder: str,
    list_file: str,
    db_name: str,
    gray: bool,
    shuffle: bool,
    backend: str,
    resize_width: int,
    resize_height: int,
    check_size: bool,
    encoded: bool,
    encode_type: str,
    threads: int,
    resume: bool,
) -> None:
    """Puts the images that LIST_FILE names, a file name and a label a line, into the new DB_NAME.

    File names are relative to ROOT_FOLDER. Images that cannot be read are listed and left out.
    A conversion that was interrupted goes on when the same command is given again.
    """
    options = ImageOptions(gray, resize_width, resize_height, encoded, encode_type)
    run(
        root_folder,
        list_file,
        db_name,
        options,
        shuffle=shuffle,
        backend=backend,
        check_size=check_size,
        threads=threads,
        resume=resume,
    )


def run(
    root_folder: str,
    list_file: str,
    db_name: str,
    options: ImageOptions | None = None,
    *,
    shuffle: bool = False,
    backend: str = "lmdb",
    check_size: bool = False,
    threads: int = 1,
    resume: bool = True,
) -> int:
    """Writes the database; returns the number of images in it.

    Raises: DataError where the list or the database is unfit, or no image at all can be read.
    """
    from caffepy.engine.data.image_list import ImageList

    options = options or ImageOptions()
    options.check()
    listed = ImageList(Path(list_file))

    def read(index: int) -> Read:
        path = rooted(root_folder, listed.name(index))
        return Read(*read_image(path, int(listed.labels[index]), options))

    order = in_order_of(listed, "convert_imageset" if shuffle else "")
    return write(
        Images(root_folder, list_file, listed, order, read),
        db_name,
        options,
        backend=backend,
        stamp=stamp(list_file, root_folder, options, shuffle) if resume else "",
        check_size=check_size,
        threads=threads,
    )


def read_image(path: Path, label: int, options: ImageOptions) -> tuple[bytes | bytearray, Size]:
    """The record of an image file, a serialized Datum, and the image's size (height, width,
    channels). Raises: DataError where it cannot be read or encoded."""
    from caffepy.engine.data import datum

    stored = stored_image(path, options)
    if isinstance(stored.image, bytes):
        return datum.serialized_file(stored.image, label), stored.size
    return datum.serialized_pixels(stored.image, label), stored.size
