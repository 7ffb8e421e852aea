"""The datasets of HDF5 files as rows of samples: read whole, and written bit by bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.core.units import size
from caffepy.engine.data.images import check_size
from caffepy.engine.hdf5_file import check_pieces, read_hdf5
from caffepy.engine.machine import memory_bytes

_KINDS = "fiu"  # floating point, signed and unsigned integers: what Caffe converts
MAX_AXES = 32


def read_rows(path: Path, names: Sequence[str], dtype: np.dtype) -> list[np.ndarray]:
    """The datasets `names` of a file, whole, as new arrays of `dtype`, each (rows, ...).

    Raises: DataError where the file or a dataset is missing, not numeric, empty or of another
    length than the first.
    """
    if not path.is_file():
        got = "a folder" if path.is_dir() else "nothing there"
        raise DataError(f"{path}: expected an HDF5 file, got {got}. Fix the path.")
    with read_hdf5(path, DataError) as file:
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
    check_pieces(path, dataset, DataError)
    check_size(dataset.nbytes // len(dataset), f"{path}: dataset '{name}': a row")
    memory = memory_bytes()
    if memory is not None and dataset.size * dtype.itemsize > memory:
        raise DataError(
            f"{path}: dataset '{name}': expected no more than this machine's memory, {size(memory)}"
            f", got shape {dataset.shape}. Make the file again, or write the samples to several "
            "smaller files."
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


class RowWriter:
    """A new HDF5 file of datasets that rows are added to. It takes the place of one at `path`.

    where: the beginning of errors.
    Raises: DataError where the file cannot be made.
    """

    def __init__(self, path: Path, where: str) -> None:
        import h5py

        self.path = path
        self.where = where
        self._datasets: dict[str, Any] = {}
        try:
            self._file = h5py.File(path, "w")
        except OSError as error:
            raise self._failed(error) from None

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Adds rows (n, ...) to the datasets of these names, and brings them to the disk.

        Raises: DataError where they differ in shape from the rows before, or cannot be written.
        """
        for name, array in arrays.items():
            dataset = self._datasets.get(name)
            if dataset is not None and dataset.shape[1:] != array.shape[1:]:
                raise DataError(
                    f"{self.where}: '{self.path}', dataset '{name}': expected rows of shape "
                    f"{dataset.shape[1:]}, as those before, got {array.shape[1:]}. Write samples "
                    "of one shape, or use a file for each."
                )
        try:
            for name, array in arrays.items():
                self._add(name, array)
            self._file.flush()
        except (OSError, RuntimeError, ValueError) as error:  # h5py raises any of them
            raise self._failed(error) from None

    def close(self) -> None:
        self._file.close()

    def _add(self, name: str, array: np.ndarray) -> None:
        if name not in self._datasets:
            self._datasets[name] = self._file.create_dataset(
                name, data=array, maxshape=(None, *array.shape[1:])
            )
            return
        dataset = self._datasets[name]
        rows = len(dataset)
        dataset.resize(rows + len(array), axis=0)
        dataset[rows:] = array

    def _failed(self, error: Exception) -> DataError:
        return DataError(
            f"{self.where}: '{self.path}' cannot be written: {' '.join(str(error).split())}. Name "
            "another file, or make room."
        )
