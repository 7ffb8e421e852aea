"""The embedded digits in every form that a data layer reads.

Labels are 1 for a zero to 10 for a nine; 0 is the background's in WindowData.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from caffepy.engine.data import datum, images
from caffepy.engine.data.db import create_db
from caffepy.models.digits.data import SIZE, split
from caffepy.proto.caffe_pb2 import AnnotatedDatum

SCALE = 1 / 256
_CORNER = SIZE // 3  # pixels of a side


def labelled() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`train` and `test`: images (N, 28, 28) uint8, 0 to 255, and their labels (N,) int, from 1."""
    return {part: (pixels, labels.astype(int) + 1) for part, (pixels, labels) in split().items()}


def write_all(folder: Path) -> None:
    """Writes what the data layers in this folder's prototxt files read."""
    (folder / "digits").mkdir()
    for part, (pixels, labels) in labelled().items():
        files = [images.encode(image, "png") for image in pixels]
        raw = [datum.raw(image[None], int(n)) for image, n in zip(pixels, labels, strict=True)]
        encoded = [datum.encoded(file, int(n)) for file, n in zip(files, labels, strict=True)]
        for name, backend, records in (
            (f"{part}_lmdb", "lmdb", raw),
            (f"{part}_leveldb", "leveldb", raw),
            (f"{part}_png_lmdb", "lmdb", encoded),
            (f"{part}_annotated_lmdb", "lmdb", [AnnotatedDatum(datum=record) for record in raw]),
        ):
            with create_db(folder / name, backend) as writer:
                for place, record in enumerate(records):
                    writer.put(b"%08d" % place, record.SerializeToString())
        names = [f"digits/{part}_{place:04}.png" for place in range(len(files))]
        for name, file in zip(names, files, strict=True):
            (folder / name).write_bytes(file)
        lines = [f"{name} {label}\n" for name, label in zip(names, labels, strict=True)]
        (folder / f"{part}.txt").write_text("".join(lines))
        windows = map(_windows, range(len(names)), names, labels.tolist())
        (folder / f"{part}_windows.txt").write_text("".join(windows))
        _write_hdf5(folder, part, pixels, labels)


def _windows(place: int, name: str, label: int) -> str:
    """What a window file says of an image: all of it is a digit, and a corner is none."""
    whole = f"{label} 1 0 0 {SIZE - 1} {SIZE - 1}"
    corner = f"0 0.1 0 0 {_CORNER - 1} {_CORNER - 1}"
    return f"# {place}\n{name}\n3\n{SIZE}\n{SIZE}\n2\n{whole}\n{corner}\n"


def _write_hdf5(folder: Path, part: str, pixels: np.ndarray, labels: np.ndarray) -> None:
    """Two files, and the list of them."""
    half = len(pixels) // 2
    for index, rows in enumerate((slice(None, half), slice(half, None))):
        with h5py.File(folder / f"{part}_{index}.h5", "w") as file:
            file["data"] = pixels[rows, None] * np.float32(SCALE)
            file["label"] = labels[rows]
    (folder / f"{part}_h5.txt").write_text(f"{part}_0.h5\n{part}_1.h5\n")
