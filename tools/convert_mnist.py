"""caffepy convert_mnist: MNIST's IDX files into a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np

LOG_EVERY = 1000  # records


@dataclass(frozen=True)
class Pairs:
    """How pairs are drawn.

    count: of pairs, None for as many as images.  alike: the part of them that are of one class,
    None for what chance gives (both images are then any, as in Caffe's example).
    """

    count: int | None = None
    alike: float | None = None
    seed: int = 0


@click.command()
@click.argument("image_file")
@click.argument("label_file")
@click.argument("db_path")
@click.option("--backend", default="lmdb", help="lmdb or leveldb. [default: lmdb]")
@click.option("--start", default=0, help="Number of the first image to take. [default: 0]")
@click.option("--count", type=int, help="How many images to take. [default: all]")
@click.option(
    "--siamese/--no-siamese", help="Write pairs of images, with label 1 for two of one class."
)
@click.option("--pairs", type=int, help="How many pairs. [default: as many as images]")
@click.option(
    "--alike",
    type=float,
    metavar="PART",
    help="Part of the pairs that are of one class, 0 to 1. [default: what chance gives]",
)
@click.option("--seed", type=int, help="Chooses the pairs. [default: 0]")
def command(
    image_file: str,
    label_file: str,
    db_path: str,
    backend: str,
    start: int,
    count: int | None,
    siamese: bool,
    pairs: int | None,
    alike: float | None,
    seed: int | None,
) -> None:
    """Puts the images and labels of IDX files, plain or gzipped, into the new database DB_PATH.

    With --siamese a record is a pair of images, drawn at random, as two channels; its label is 1
    where both are of one class, else 0.
    """
    options = {"pairs": pairs, "alike": alike, "seed": seed}
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given and not siamese:
        raise click.UsageError(f"{', '.join(given)}: only pairs have this. Add --siamese.")
    drawing = Pairs(pairs, alike, seed or 0) if siamese else None
    run(image_file, label_file, db_path, backend=backend, start=start, count=count, pairs=drawing)


def run(
    image_file: str,
    label_file: str,
    db_path: str,
    *,
    backend: str = "lmdb",
    start: int = 0,
    count: int | None = None,
    pairs: Pairs | None = None,
) -> int:
    """Writes the database; returns the number of records in it. Keys are the images' numbers, or
    those of the pairs.

    Raises: DataError where the files are no IDX files of images and labels, do not fit each other,
    or do not have the pairs that are asked for.
    """
    from caffepy.engine.core import log
    from caffepy.engine.core.errors import DataError
    from caffepy.engine.data import datum, idx
    from caffepy.engine.data.db import create_db
    from caffepy.tools.task import Task

    images = idx.read(Path(image_file), idx.IMAGE_MAGIC)
    labels = idx.read(Path(label_file), idx.LABEL_MAGIC)
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
    images, labels = images[start:end], labels[start:end]
    records = _singles(images, labels, start)
    if pairs is not None:
        records = _paired(images, labels, *draw_pairs(labels, pairs))
    log.info(f"A total of {end - start} items.")
    log.info(f"Rows: {images.shape[1]} Cols: {images.shape[2]}")
    written = like = 0
    with create_db(db_path, backend) as writer, Task("records") as task:
        for number, pixels, label in records:
            record = datum.raw(pixels, label)
            record.ClearField("encoded")  # as in Caffe's own converter: equal bytes
            writer.put(b"%08d" % number, record.SerializeToString())
            written += 1
            task.advance()
            like += label if pairs else 0
            if written % LOG_EVERY == 0:
                log.info(f"Processed {written} files.")
    if written % LOG_EVERY:
        log.info(f"Processed {written} files.")
    if pairs is not None:
        log.info(f"{like} of the {written} pairs are of one class.")
    return written


def _singles(
    images: np.ndarray, labels: np.ndarray, start: int
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Number, pixels (1, rows, columns) and label of every image."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True), start):
        yield number, image[None], int(label)


def _paired(
    images: np.ndarray, labels: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Number, pixels (2, rows, columns) and likeness of every pair."""
    alike = labels[first] == labels[second]
    for number, pair in enumerate(zip(first, second, strict=True)):
        yield number, images[list(pair)], int(alike[number])


def draw_pairs(labels: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the images of the pairs, first and second, each (count,) int64.

    With `alike`, that part of the pairs, rounded, are two images of one class, never one image
    twice; the others are of two classes; which is which is random.
    Raises: DataError where the labels do not have such pairs.
    """
    import numpy as np

    from caffepy.engine.core.errors import DataError
    from caffepy.engine.core.random import Stream

    count = len(labels) if pairs.count is None else pairs.count
    if count < 1:
        raise DataError(f"--pairs: expected at least 1, got {count}. Give a bigger number.")
    # (count,) float64 in [0, 1) each
    first = Stream(pairs.seed, "convert_mnist", "first").uniform(0, count)
    second = Stream(pairs.seed, "convert_mnist", "second").uniform(0, count)
    if pairs.alike is None:
        return (first * len(labels)).astype(np.int64), (second * len(labels)).astype(np.int64)
    if not 0 <= pairs.alike <= 1:
        raise DataError(f"--alike: expected a part from 0 to 1, got {pairs.alike}. Correct it.")
    wanted_alike = round(pairs.alike * count)
    by_class = np.argsort(labels, kind="stable")
    _, begins, class_of, sizes = np.unique(
        labels[by_class], return_index=True, return_inverse=True, return_counts=True
    )
    partners = np.flatnonzero(sizes[class_of] > 1)  # places in by_class with others of the class
    if (wanted_alike and not len(partners)) or (wanted_alike < count and len(sizes) < 2):
        raise DataError(
            f"--alike {pairs.alike:g}: expected images of several classes, and several of a class, "
            f"got {len(labels)} image(s) of {len(sizes)} class(es). Take more images (--count)."
        )
    alike = Stream(pairs.seed, "convert_mnist", "alike").permutation(0, count) < wanted_alike
    place = (first * len(labels)).astype(np.int64)
    if wanted_alike:
        place[alike] = partners[(first[alike] * len(partners)).astype(np.int64)]
    begin, size = begins[class_of[place]], sizes[class_of[place]]
    # A partner of the class is counted from the place on, one of another from the class's end on.
    near = 1 + (second * (size - 1)).astype(np.int64)
    within = begin + (place - begin + near) % size
    beyond = begin + size + (second * (len(labels) - size)).astype(np.int64)
    other = np.where(alike, within, beyond % len(labels))
    return by_class[place], by_class[other]
