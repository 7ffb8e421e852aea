"""The parameters of a net in .caffemodel and .caffemodel.h5 files: their layers, read and written.

HDF5, as in Caffe: dataset /data/<layer>/<index> (gradients under /diff); a `/` in a layer's name
makes nested groups. A parameter that a layer shares with an earlier one stands in the binary file
twice, in the HDF5 file once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core.errors import SnapshotError, WeightsError
from caffepy.engine.core.layer import Layer
from caffepy.engine.files import written_whole
from caffepy.engine.hdf5_file import SIGNATURE, check_pieces, hdf5_bytes, read_hdf5
from caffepy.engine.net import Net
from caffepy.proto import weights
from caffepy.proto.caffe_pb2 import LayerParameter, Phase


@dataclass(frozen=True)
class LayerInFile:
    """One layer of a file; some blobs may be missing (`partial`: shared ones in HDF5)."""

    name: str
    blobs: dict[int, weights.BlobArray]
    partial: bool


def read_layers(path: Path) -> list[LayerInFile]:
    """The layers of a file in its order. Binary and HDF5 files are told apart by their content.

    Raises: WeightsError.
    """
    return _read_hdf5(path) if is_hdf5(path) else _read_binary(path)


def save_weights(net: Net, path: Path, *, hdf5: bool = False, diffs: bool = False) -> str:
    """Writes the parameters (diffs: and gradients) of a net. Returns the file's SHA-256.

    Raises: SnapshotError.
    """
    with written_whole(path) as temporary:
        return write_weights(net, temporary, path, hdf5=hdf5, diffs=diffs)


def write_weights(
    net: Net, temporary: Path, path: Path, *, hdf5: bool = False, diffs: bool = False
) -> str:
    """`save_weights` into a file that will become `path`. Raises: SnapshotError, OSError."""
    pieces: Iterable[bytes | memoryview]
    if hdf5:
        pieces = [hdf5_bytes(lambda file: _fill_hdf5(net, file, path, diffs))]
    else:
        pieces = _binary_pieces(net, path, diffs)
    digest = hashlib.sha256()
    with open(temporary, "wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def is_hdf5(path: Path) -> bool:
    """Whether a file begins like HDF5. Raises: WeightsError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file. Fix the path.") from None
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read: {error.strerror or error}. Name a file that may be read."
        ) from None


# ---- binary


def _read_binary(path: Path) -> list[LayerInFile]:
    return [
        LayerInFile(layer.name, dict(enumerate(layer.blobs)), False) for layer in weights.read(path)
    ]


def _binary_pieces(net: Net, path: Path, diffs: bool) -> Iterator[bytes | memoryview]:
    layers = []
    for layer in net.layers:
        arrays = [
            weights.BlobToWrite(blob.data.content(), blob.diff.content() if diffs else None)
            for blob in layer.blobs
        ]
        layers.append((_described(layer, net.param.state.phase), arrays))
    try:
        return weights.encode_net(net.name, layers)
    except WeightsError as error:
        raise SnapshotError(f"{path}: {error}") from None


def _described(layer: Layer, phase: Phase) -> LayerParameter:
    """What Caffe writes about a layer: its parameters with phase and loss weight filled in."""
    param = LayerParameter()
    param.CopyFrom(layer.param)
    if not param.HasField("phase"):
        param.phase = phase
    if layer.default_loss_weight and not param.loss_weight:
        param.loss_weight.append(layer.default_loss_weight)
    return param


# ---- HDF5


def _read_hdf5(path: Path) -> list[LayerInFile]:
    import h5py

    found: list[LayerInFile] = []

    def visit(group: Any, name: str) -> None:
        children = {key: group[key] for key in group}
        blobs = {
            int(key): weights.BlobArray(_content(path, item), item.shape, False, None)
            for key, item in children.items()
            if isinstance(item, h5py.Dataset) and key.isdecimal()
        }
        groups = {key: item for key, item in children.items() if isinstance(item, h5py.Group)}
        if name and (blobs or not groups):
            found.append(LayerInFile(name, dict(sorted(blobs.items())), True))
        for key, item in groups.items():
            visit(item, f"{name}/{key}" if name else key)

    with read_hdf5(path, WeightsError) as file:
        if "data" not in file:
            raise WeightsError(
                f"{path}: expected a group 'data' with one group for each layer, got "
                f"{', '.join(file) or 'nothing'}. This HDF5 file holds no Caffe weights."
            )
        visit(file["data"], "")
    return found


def _content(path: Path, dataset: Any) -> np.ndarray:
    """A blob. Raises: WeightsError where it is none."""
    if dataset.dtype.kind not in "fiu" or (dataset.size or 0) > weights.MAX_COUNT:
        raise WeightsError(
            f"{path}: dataset '{dataset.name}': expected at most {weights.MAX_COUNT} floats or "
            f"integers, got {dataset.size} values of type {dataset.dtype}. The file is damaged, or "
            "of another kind: fetch it again, or give the right one."
        )
    check_pieces(path, dataset, WeightsError)
    return np.asarray(dataset[()])


def _fill_hdf5(net: Net, file: Any, path: Path, diffs: bool) -> None:
    owned = {id(parameter.blob) for parameter in net.parameters.learnable}
    written: set[str] = set()
    for layer in net.layers:
        try:
            if layer.name in written:
                raise ValueError("another layer has this name")
            written.add(layer.name)
            data = file.require_group("data").require_group(layer.name)
            for index, blob in enumerate(layer.blobs):
                if id(blob) in owned:
                    data.create_dataset(str(index), data=blob.data.content())
            if diffs:
                diff = file.require_group("diff").require_group(layer.name)
                for index, blob in enumerate(layer.blobs):
                    diff.create_dataset(str(index), data=blob.diff.content())
        except (ValueError, TypeError) as error:  # TypeError: a group where a blob lies
            raise SnapshotError(
                f"{path}: layer '{layer.name}' has no place of its own in an HDF5 file: "
                f"{error}. Give every layer another name, or set snapshot_format: BINARYPROTO."
            ) from None
