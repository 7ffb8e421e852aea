"""The embedded handwritten digits, 1,797 images of 8 x 8 pixels. README.md tells their origin."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from caffepy.engine.core.random import Stream
from caffepy.engine.data import datum, idx, images
from caffepy.engine.data.db import create_db

TRAIN_COUNT = 1437  # of 1,797; the others are for testing
SIZE = 28  # pixels of a side in the databases, MNIST's


def load() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) uint8 images with values 0 (white) to 16 (black), (1797,) uint8 labels."""
    file = resources.files("caffepy.models.digits").joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream) as arrays:
        return arrays["images"], arrays["labels"]


def split() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`train` and `test`: images (N, 28, 28) uint8, 0 to 255, and their labels (N,) uint8.

    The digits are put into an order that is random and always the same; the first TRAIN_COUNT of
    them are for training.
    """
    pixels, labels = load()
    order = Stream(0, "digits", "split").permutation(0, len(labels))
    full = np.round(pixels * (255 / 16)).astype(np.uint8)
    resized = np.stack([images.resize(image, SIZE, SIZE) for image in full])
    train, test = order[:TRAIN_COUNT], order[TRAIN_COUNT:]
    return {"train": (resized[train], labels[train]), "test": (resized[test], labels[test])}


def write_lmdbs(folder: Path) -> None:
    """Writes `train_lmdb` and `test_lmdb` into a folder: 1 x 28 x 28 bytes a record, 0 to 255.

    Raises: DataError where a database exists already.
    """
    for name, (pixels, labels) in split().items():
        with create_db(folder / f"{name}_lmdb", "lmdb") as writer:
            for place, (image, label) in enumerate(zip(pixels, labels, strict=True)):
                record = datum.raw(image[None], int(label))
                writer.put(b"%08d" % place, record.SerializeToString())


def write_idx(folder: Path) -> None:
    """Writes the digits in MNIST's format: `train-images.idx3`, `train-labels.idx1`, `test-...`."""
    for name, (pixels, labels) in split().items():
        idx.write(folder / f"{name}-images.idx3", pixels)
        idx.write(folder / f"{name}-labels.idx1", labels)
