"""What is inside weights, solver states, means, arrays and HDF5 files."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.hdf5_file import SIGNATURE, check_pieces, read_hdf5
from caffepy.engine.snapshot import read_snapshot
from caffepy.engine.weights_file import read_layers
from caffepy.proto import renumber, text, weights
from caffepy.proto.errors import WeightsError
from caffepy.proto.wire import BYTES, FIXED32, FIXED64, VARINT, Wire
from caffepy.tools.array_statistics import Statistics, measure

_NUMERIC = "fiub"
_SLICE_BYTES = 1 << 26  # of a dataset that are read at a time
_FIELDS = 50  # by which kinds of messages are told apart
_BLOB_FIELDS = {(5, BYTES), (5, FIXED32), (7, BYTES), (8, FIXED64)}  # data, shape, double_data


@dataclass(frozen=True)
class Entry:
    """One array. kind: what it belongs to: a layer's type, history, dataset, ..."""

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    statistics: Statistics | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        told = {
            "name": self.name,
            "kind": self.kind,
            "shape": list(self.shape),
            "dtype": self.dtype,
        }
        return {**told, "statistics": self.statistics and self.statistics.plain()}


@dataclass(frozen=True)
class Content:
    """What a file is, facts about it by name, its arrays; of weights the net, as a prototxt."""

    kind: str
    facts: dict[str, Any]
    entries: list[Entry] = field(default_factory=list)
    net: str = ""


Tell = Callable[[], None]


def read_file(path: Path, tell: Tell) -> Content:
    """The content of a file, whose kind is told by what it holds. tell: called for each array.

    Raises: CaffepyError where it is of no kind that is known, or damaged.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Fix the path.") from None
    if start.startswith(SIGNATURE):
        return _hdf5(path, tell)
    if start.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return _numpy(path, tell)
    data = path.read_bytes()
    fields = _first_fields(data, str(path))
    if fields & {(1, BYTES), (100, BYTES)}:  # the net's name, a layer
        return _weights(path, tell)
    if (1, VARINT) in fields and fields & {(2, BYTES), (3, BYTES)}:  # iter, learned_net, history
        return _state(path, tell)
    if {(1, VARINT), (2, VARINT)} <= fields or fields & _BLOB_FIELDS:  # num, channels
        blob = weights.decode_blob(data, str(path))
        return Content("mean or blob (BlobProto)", {}, [_entry("data", "blob", blob.data, tell)])
    try:
        return _weights(path, tell)  # such as the older ones, without a name
    except WeightsError as error:
        raise DataError(
            f"{path}: expected weights, a solver state, a mean, HDF5 data, arrays of numpy, or the "
            f"folder of a database, got another file ({error}). Give one of these."
        ) from None


def _first_fields(data: bytes, source: str) -> set[tuple[int, int]]:
    """Numbers and wire types of the first fields of a message, up to where it is damaged."""
    found: set[tuple[int, int]] = set()
    with contextlib.suppress(WeightsError):
        for part in itertools.islice(Wire(data, source).fields(0, len(data)), _FIELDS):
            found.add((part.number, part.kind))
    return found


def _weights(path: Path, tell: Tell) -> Content:
    layers = weights.read(path)
    entries = [
        _entry(f"{layer.name}[{index}]", layer.type, blob.data, tell)
        for layer in layers
        for index, blob in enumerate(layer.blobs)
    ]
    facts = _counts(len(layers), entries)
    try:
        found = renumber.decode(path.read_bytes(), str(path), blobs=False)
    except WeightsError as error:  # the weights themselves are read without what it is about
        return Content("weights (.caffemodel)", {**facts, "settings": str(error)}, entries)
    own = [(name, number) for name, number in found.numbers.items() if "." not in name[1]]
    for what, told in (
        ("fork's blocks", {f"{block} in {kind}": number for (kind, block), number in own}),
        (
            "unknown",
            {f"number {number} in {kind}": n for (kind, number), n in found.unknown.items()},
        ),
    ):
        facts.update({what: told} if told else {})
    return Content("weights (.caffemodel)", facts, entries, text.write(found.net))


def _state(path: Path, tell: Tell) -> Content:
    state = read_snapshot(path)
    facts = {
        "iteration": state.iteration,
        "learned_net": state.learned_net,
        "current_step": state.current_step,
        "caffepy's notes for exact resume": "yes" if state.extra else "no",
    }
    entries = [
        _entry(f"history[{index}]", "history", array, tell)
        for index, array in enumerate(state.history)
    ]
    return Content("solver state", facts, entries)


def _counts(layers: int, entries: Iterable[Entry]) -> dict[str, Any]:
    total = sum(entry.statistics.count for entry in entries if entry.statistics)
    return {"layers": layers, "parameters": total}


def _hdf5(path: Path, tell: Tell) -> Content:
    """Weights, a solver state, or datasets such as HDF5Data reads."""
    import h5py

    with read_hdf5(path, DataError) as file:
        names = set(file)
        if {"iter", "history"} <= names:
            return _state(path, tell)
        if "data" in names and isinstance(file["data"], h5py.Group):
            layers = read_layers(path)
            entries = [
                _entry(f"{layer.name}[{index}]", "layer", blob.data, tell)
                for layer in layers
                for index, blob in layer.blobs.items()
            ]
            return Content("weights (HDF5)", _counts(len(layers), entries), entries)
        found: dict[str, Any] = {}
        file.visititems(found.__setitem__)
        sets = {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}
        entries = [_dataset(path, name, item, tell) for name, item in sets.items()]
        rows = {entry.shape[0] for entry in entries if entry.shape}
        facts = {"rows": rows.pop() if len(rows) == 1 else "not the same in all datasets"}
        return Content("data (HDF5)", facts if entries else {}, entries)


def _dataset(path: Path, name: str, dataset: Any, tell: Tell) -> Entry:
    """A dataset, read a part at a time."""
    tell()
    shape = tuple(dataset.shape or ())
    if dataset.dtype.kind not in _NUMERIC or not dataset.size:
        return Entry(name, "dataset", shape, str(dataset.dtype))
    check_pieces(path, dataset, DataError)

    def parts() -> Iterator[np.ndarray]:
        if not shape:
            yield np.asarray(dataset[()])
            return
        rows = max(1, _SLICE_BYTES * shape[0] // max(1, dataset.nbytes))
        for first in range(0, shape[0], rows):
            yield dataset[first : first + rows]

    return Entry(name, "dataset", shape, str(dataset.dtype), measure(parts))


def _numpy(path: Path, tell: Tell) -> Content:
    """A .npy or .npz file."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"array": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # of a damaged file numpy and zipfile raise nearly anything
        raise DataError(
            f"{path}: expected arrays of numbers (.npy, .npz), got something that numpy cannot "
            f"read: {error}. Fetch or make the file again."
        ) from None
    entries = [_entry(name, "array", array, tell) for name, array in arrays.items()]
    return Content("arrays (numpy)", {}, entries)


def _entry(name: str, kind: str, array: np.ndarray, tell: Tell) -> Entry:
    tell()
    told = None
    if array.size and array.dtype.kind in _NUMERIC:
        told = measure(lambda: [array])
    return Entry(name, kind, array.shape, str(array.dtype), told)
