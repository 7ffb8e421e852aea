"""caffepy convert_cifar: CIFAR-10's or CIFAR-100's binary files into databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np

CHANNELS, SIZE = 3, 32  # RGB, pixels
PIXELS = CHANNELS * SIZE * SIZE


@dataclass(frozen=True)
class _Set:
    """One of the data sets. train: file names.  labels: bytes before the pixels of a record.
    label: which of them counts."""

    name: str
    train: tuple[str, ...]
    test: str
    labels: int = 1
    label: int = 0


_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_SETS = {
    "10": _Set("cifar10", _BATCHES, "test_batch.bin"),
    "100-coarse": _Set("cifar100_coarse", ("train.bin",), "test.bin", 2, 0),
    "100-fine": _Set("cifar100", ("train.bin",), "test.bin", 2, 1),
}


@click.command()
@click.argument("input_folder")
@click.argument("output_folder")
@click.argument("db_type", default="lmdb")
@click.option(
    "--set",
    "data_set",
    type=click.Choice(list(_SETS)),
    default="10",
    help="CIFAR-10, or CIFAR-100 with its 20 or 100 classes. [default: 10]",
)
def command(input_folder: str, output_folder: str, db_type: str, data_set: str) -> None:
    """Puts the binary files of CIFAR-10 in INPUT_FOLDER into two databases in OUTPUT_FOLDER:
    cifar10_train_DB_TYPE and cifar10_test_DB_TYPE.

    DB_TYPE is lmdb or leveldb. The channels stay in the order of the files, red, green, blue, as
    in Caffe's own databases.
    """
    run(input_folder, output_folder, db_type, data_set)


def run(
    input_folder: str, output_folder: str, db_type: str = "lmdb", data_set: str = "10"
) -> tuple[int, int]:
    """Writes the databases; returns the numbers of their records.

    Raises: DataError where a file is missing or is none of CIFAR's.
    """
    from caffepy.engine.core import log

    chosen = _SETS[data_set]
    source, output = Path(input_folder), Path(output_folder)
    for name in (*chosen.train, chosen.test):
        _check(source / name, chosen)
    name = f"{chosen.name}_train_{db_type}"
    train = _write(output / name, db_type, _training(source, chosen), "Writing Training data")
    log.info("Writing Testing data")
    name = f"{chosen.name}_test_{db_type}"
    return train, _write(output / name, db_type, _records(source / chosen.test, chosen))


def _write(
    path: Path, db_type: str, records: Iterator[tuple[np.ndarray, int]], first_line: str = ""
) -> int:
    """A database of images with their labels; their number."""
    from caffepy.engine.core import log
    from caffepy.engine.data import datum
    from caffepy.engine.data.db import create_db
    from caffepy.tools.task import Task

    with create_db(path, db_type) as writer, Task("images") as task:
        if first_line:
            log.info(first_line)
        for pixels, label in records:
            record = datum.raw(pixels, label)
            record.ClearField("encoded")  # as in Caffe's own converter: equal bytes
            writer.put(b"%05d" % task.done, record.SerializeToString())
            task.advance()
    return task.done


def _training(source: Path, chosen: _Set) -> Iterator[tuple[np.ndarray, int]]:
    from caffepy.engine.core import log

    for number, name in enumerate(chosen.train, start=1):
        log.info(f"Training Batch {number}")
        yield from _records(source / name, chosen)


def _records(path: Path, chosen: _Set) -> Iterator[tuple[np.ndarray, int]]:
    """(3, 32, 32) uint8 and the label of every image in a file."""
    import numpy as np

    rows = np.fromfile(path, np.uint8).reshape(-1, chosen.labels + PIXELS)
    for row in rows:
        yield row[chosen.labels :].reshape(CHANNELS, SIZE, SIZE), int(row[chosen.label])


def _check(path: Path, chosen: _Set) -> None:
    """Raises: DataError where a file is missing or has no whole number of records."""
    from caffepy.engine.core.errors import DataError

    each = chosen.labels + PIXELS
    if not path.is_file():
        python = path.with_suffix("").is_file()  # the same data as pickles
        got = f"the Python version ('{path.stem}')" if python else "no such file"
        raise DataError(
            f"{path}: expected a file of the binary version of CIFAR, got {got}. Fetch "
            "cifar-10-binary.tar.gz or cifar-100-binary.tar.gz, unpack it, and name its folder."
        )
    size = path.stat().st_size
    if not size or size % each:
        raise DataError(
            f"{path}: expected records of {each} bytes each, got {size} bytes, which is no whole "
            "number of them. Unpack the archive again; for CIFAR-100 give --set 100-fine."
        )
