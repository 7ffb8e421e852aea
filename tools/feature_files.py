"""Where extracted features go: a database for each blob, or HDF5 or npz files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError
from caffepy.engine.data.db import Writer, create_db
from caffepy.engine.files import refusing, written_whole
from caffepy.proto.caffe_pb2 import Datum

DATABASES, FILES = ("lmdb", "leveldb"), ("hdf5", "npz")


class FeatureFile(Protocol):
    """Takes rows of features. The `with` block of it ends with all of them in their place."""

    def add(self, name: str, rows: np.ndarray) -> None:
        """Appends samples (N, ...) of a blob."""


def open_files(
    stack: contextlib.ExitStack, kind: str, names: list[str], places: list[str]
) -> list[FeatureFile]:
    """What takes the rows of each blob, closed with the stack.

    Raises: DataError where `kind` is none, or names and places do not fit.
    """
    kind = kind.lower()
    if kind not in DATABASES + FILES:
        raise DataError(
            f"db_type: expected one of {', '.join(DATABASES + FILES)}, got '{kind}'. Choose one."
        )
    shared = kind in FILES and len(places) == 1
    if not shared and len(places) != len(names):
        raise DataError(
            f"outputs: expected {len(names)}, one for each blob, got {len(places)} "
            f"({', '.join(places)}). Give as many names as blobs, parted by commas."
        )
    if not all(places) or (not shared and len(set(places)) < len(places)):
        raise DataError(
            f"outputs: expected names that differ, got '{','.join(places)}'. Give each blob its "
            "own."
        )
    opened: dict[str, FeatureFile] = {}
    for place in dict.fromkeys(places):
        log.info(f"Opening dataset {place}")
        if kind in DATABASES:
            opened[place] = _Database(stack.enter_context(create_db(place, kind)))
        else:
            path = Path(place)
            temporary = stack.enter_context(written_whole(path, DataError))
            if kind == "hdf5":
                opened[place] = stack.enter_context(_Hdf5(path, temporary))
            else:
                opened[place] = stack.enter_context(_Npz(path, temporary))
    return [opened[place] for place in (places * len(names) if shared else places)]


class _Database:
    """Datum messages with float_data under the numbers of the samples, as Caffe's tool writes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._count = 0

    def add(self, name: str, rows: np.ndarray) -> None:
        shape = rows.shape[1:]
        if len(shape) > 3:
            raise DataError(
                f"blob '{name}': expected at most 4 axes, which a Datum has room for, got shape "
                f"{rows.shape}. Write hdf5 or npz."
            )
        channels, height, width = (*shape, 1, 1, 1)[:3]
        for row in rows.reshape(len(rows), -1):
            record = Datum(channels=channels, height=height, width=width)
            record.float_data.extend(row.tolist())
            self._writer.put(b"%010d" % self._count, record.SerializeToString())
            self._count += 1


class _Hdf5(contextlib.AbstractContextManager["_Hdf5"]):
    """A dataset for each blob, which grows."""

    def __init__(self, path: Path, temporary: Path) -> None:
        import h5py

        self._path = path
        with refusing(path, DataError):
            self._file: Any = h5py.File(temporary, "w")

    def add(self, name: str, rows: np.ndarray) -> None:
        with refusing(self._path, DataError):
            if name not in self._file:
                self._file.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]))
                return
            dataset = self._file[name]
            _check_shape(name, dataset.shape, rows)
            dataset.resize(len(dataset) + len(rows), axis=0)
            dataset[-len(rows) :] = rows

    def __exit__(self, *error: object) -> None:
        with refusing(self._path, DataError):
            self._file.close()


class _Npz(contextlib.AbstractContextManager["_Npz"]):
    """An array for each blob, in memory until the end."""

    def __init__(self, path: Path, temporary: Path) -> None:
        self._path, self._temporary = path, temporary
        self._rows: dict[str, list[np.ndarray]] = {}
        with refusing(path, DataError):
            temporary.touch()

    def add(self, name: str, rows: np.ndarray) -> None:
        kept = self._rows.setdefault(name, [])
        if kept:
            _check_shape(name, kept[0].shape, rows)
        kept.append(rows.copy())

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            arrays: dict[str, Any] = {
                name: np.concatenate(rows) for name, rows in self._rows.items()
            }
            with refusing(self._path, DataError), open(self._temporary, "wb") as file:
                np.savez(file, **arrays)


def _check_shape(name: str, first: tuple[int, ...], rows: np.ndarray) -> None:
    """Raises: DataError where samples have another shape than those before."""
    if first[1:] != rows.shape[1:]:
        raise DataError(
            f"blob '{name}': expected samples of shape {first[1:]}, as before, got "
            f"{rows.shape[1:]}. Write a database, or resize the images to one size."
        )
