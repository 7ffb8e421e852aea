"""Reading the datasets of an HDF5 file as rows of samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError

_KINDS = "fiu"  # floating point, signed and unsigned integers: what Caffe converts
MAX_AXES = 32


def read_rows(path: Path, names: Sequence[str], dtype: np.dtype) -> list[np.ndarray]:
    """The datasets `names` of a file, whole, as new arrays of `dtype`, each (rows, ...).

    Raises: DataError where the file or a dataset is missing, not numeric, empty or of another
    length than the first.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file. Fix the path.") from None
    except OSError as error:
        reason = "it is a folder" if path.is_dir() else " ".join(str(error).split())
        raise DataError(
            f"{path}: expected an HDF5 file, got something that cannot be read: {reason}. Fix the "
            "path, or make the file again."
        ) from None
    with file:
        arrays = [_read(path, file, name, dtype) for name in names]
    for name, array in zip(names, arrays):
        if len(array) != len(arrays[0]):
            raise DataError(
                f"{path}: dataset '{name}': expected {len(arrays[0])} rows, as '{names[0]}' has, "
                f"got {len(array)}. Write all datasets of a file with the same number of rows."
            )
    return arrays


def _read(path: Path, file: Any, name: str, dtype: np.dtype) -> np.ndarray:
    import h5py

    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        found = ", ".join(map(repr, file)) or "none at all"
        raise DataError(
            f"{path}: expected a dataset '{name}', got {found}. "
            "Name the layer's tops like the datasets of the file."
        )
    if dataset.dtype.kind not in _KINDS:
        raise DataError(
            f"{path}: dataset '{name}': expected floats or integers, got {dataset.dtype}. Write it "
            "as float32."
        )
    if dataset.size is None or not dataset.size or not 1 <= dataset.ndim <= MAX_AXES:
        raise DataError(
            f"{path}: dataset '{name}': expected at least one axis and one row, got shape "
            f"{dataset.shape}. Put samples along the first axis, or take the file off the list."
        )
    try:
        array = np.empty(dataset.shape, dtype)
        dataset.read_direct(array)  # HDF5 converts on the way: no second copy
    except (OSError, MemoryError) as error:
        raise DataError(
            f"{path}: dataset '{name}' cannot be read: {error}. Make the file again, or write "
            "the samples to several smaller files."
        ) from None
    return array
