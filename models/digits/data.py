"""The embedded handwritten digits, 1,797 images of 8 x 8 pixels. README.md tells their origin."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from caffepy.engine.core.random import Stream
from caffepy.engine.data import datum, images
from caffepy.engine.data.db import create_db

TRAIN_COUNT = 1437  # of 1,797; the others are for testing
SIZE = 28  # pixels of a side in the databases, MNIST's


def load() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 8, 8) uint8 images with values 0 (white) to 16 (black), (1797,) uint8 labels."""
    file = resources.files("caffepy.models.digits").joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream) as arrays:
        return arrays["images"], arrays["labels"]


def write_lmdbs(folder: Path) -> None:
    """Writes `train_lmdb` and `test_lmdb` into a folder: 1 x 28 x 28 bytes a record, 0 to 255.

    The digits are put into an order that is random and always the same; the first TRAIN_COUNT of
    them are for training. Raises: DataError where a database exists already.
    """
    pixels, labels = load()
    order = Stream(0, "digits", "split").permutation(0, len(labels))
    parts = {"train_lmdb": order[:TRAIN_COUNT], "test_lmdb": order[TRAIN_COUNT:]}
    for name, numbers in parts.items():
        with create_db(folder / name, "lmdb") as writer:
            for place, number in enumerate(numbers):
                full = np.round(pixels[number] * (255 / 16)).astype(np.uint8)
                image = images.resize(full, SIZE, SIZE)[None]
                record = datum.raw(image, int(labels[number]))
                writer.put(b"%08d" % place, record.SerializeToString())
