"""Layers and their parameters out of the bytes of a .caffemodel, and blobs out of any file.

Reads what BVLC Caffe and its forks write: layers of the forms V2, V1 and V0, packed and unpacked
floats, doubles, shapes of the old four-number form, and NVCaffe's raw_data. Arrays are read-only
views of the file's bytes where these lie together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.errors import WeightsError
from caffepy.proto.fields import copied
from caffepy.proto.renumber import layer_bytes
from caffepy.proto.typenames import V0_TO_V1, V1_TO_TYPE
from caffepy.proto.wire import BYTES, FIXED32, FIXED64, VARINT, Field, Wire, header, varint

Dtype = np.dtype[Any]
FLOAT: Dtype = np.dtype("<f4")
DOUBLE: Dtype = np.dtype("<f8")
MAX_AXES = 32
MAX_COUNT = (1 << 31) - 1  # values of a blob
MAX_MESSAGE = (1 << 31) - 1  # bytes; protobuf reads no longer message

T = TypeVar("T")

# NVCaffe's enum Type: how raw_data is stored, and what it becomes here.
_RAW_TYPES: dict[int, tuple[Dtype, Dtype]] = {
    pb.DOUBLE: (DOUBLE, DOUBLE),
    pb.FLOAT: (FLOAT, FLOAT),
    pb.FLOAT16: (np.dtype("<f2"), FLOAT),
    pb.INT: (np.dtype("<i4"), FLOAT),
    pb.UINT: (np.dtype("<u4"), FLOAT),
}
# Field numbers of BlobProto. 10 to 13 are NVCaffe's; Vitis-AI uses 10 to 12 with other wire types.
_LEGACY_AXES = (1, 2, 3, 4)
_SHAPE = 7
_NUMBERS = {
    5: ("data", FLOAT, FIXED32),
    6: ("diff", FLOAT, FIXED32),
    8: ("data", DOUBLE, FIXED64),
    9: ("diff", DOUBLE, FIXED64),
}
_RAW_TYPE = {10: "data", 11: "diff"}
_RAW = {12: "data", 13: "diff"}

_TEXT_BYTES = bytes(range(32, 127)) + b"\t\n\r\f"
# Beginnings of files that are no serialized message, and what they are.
_SIGNATURES = (
    (b"\x89HDF\r\n", "an HDF5 file: give it a name that ends in .h5"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with 'git lfs pull'"),
    (b"PK\x03\x04", "a zip archive: weights of another framework, or to be unpacked first"),
    (b"\x1f\x8b", "a gzip file: unpack it first"),
    (b"<", "a web page or XML: fetch the file itself"),
)


@dataclass(frozen=True)
class BlobArray:
    """One blob of a file.

    data: values, float32 or float64, of shape `shape`. diff: gradients likewise, where stored.
    legacy_shape: the file gives num, channels, height and width, so that axes of 1 may be padding.
    """

    data: np.ndarray
    shape: tuple[int, ...]
    legacy_shape: bool
    diff: np.ndarray | None


@dataclass(frozen=True)
class LayerWeights:
    """One layer of a file. type: in today's words ("Convolution"), whatever the file's form."""

    name: str
    type: str
    blobs: list[BlobArray]


@dataclass(frozen=True)
class BlobToWrite:
    """One blob for a file. data, diff: float32 or float64 (others become float32), one shape."""

    data: np.ndarray
    diff: np.ndarray | None = None


class _Form(NamedTuple):
    """The field numbers of one form of layers."""

    name: int
    type: int
    blobs: int


_V2, _V1, _V0 = _Form(1, 2, 7), _Form(4, 5, 6), _Form(1, 2, 50)
_NET_NAME, _NET_LAYERS, _NET_LAYER = 1, 2, 100
_V1_LAYER = 1


def read(path: str | os.PathLike[str]) -> list[LayerWeights]:
    """The layers of a .caffemodel file. Raises: WeightsError."""
    source = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read()  # not mapped: a mapped file that shrinks kills the process
    except FileNotFoundError:
        raise WeightsError(f"{source}: there is no such file. Fix the path.") from None
    except IsADirectoryError:
        raise WeightsError(
            f"{source}: expected a file, got a folder. Name the file in it."
        ) from None
    except (OSError, ValueError, MemoryError) as error:
        raise WeightsError(
            f"{source}: cannot be read: {error}. Check the path and its rights."
        ) from None
    if not data:
        raise WeightsError(
            f"{source}: expected a .caffemodel, got an empty file. Fix the path, or fetch it again."
        )
    return parse(data, source)


def parse(data: bytes, source: str) -> list[LayerWeights]:
    """The layers in the bytes of a NetParameter, those without blobs too.

    source: what errors call it. Raises: WeightsError.
    """
    return decoded(data, source, "a .caffemodel", _net)


def decode_blob(data: bytes, source: str) -> BlobArray:
    """The blob in the bytes of a BlobProto, such as a mean.binaryproto. Raises: WeightsError."""
    return decoded(data, source, "a blob", lambda wire: _blob(wire, 0, len(data)))


def encode_net(
    name: str, layers: Iterable[tuple[pb.LayerParameter, Sequence[BlobToWrite]]]
) -> Iterator[bytes | memoryview]:
    """The bytes of a .caffemodel that Caffe reads, piece by piece.

    Layers go out without blobs of their own, and numbered as `renumber.encode` says.
    Raises: WeightsError, before the first piece, where protobuf could not read the file back.
    """
    pieces = _nested(_NET_NAME, [name.encode()])
    total = sum(map(len, pieces))
    for layer, blobs in layers:
        described = copied(layer)
        described.ClearField("blobs")
        before, after = _around_blobs(layer_bytes(described))
        parts: list[bytes | memoryview] = [before]
        for blob in blobs:
            parts += _nested(_V2.blobs, _blob_pieces(blob.data, blob.diff))
        parts = _nested(_NET_LAYER, [*parts, after])
        total += sum(map(len, parts))
        pieces += parts
    if total > MAX_MESSAGE:
        raise WeightsError(
            f"net '{name}': expected at most {MAX_MESSAGE} bytes of weights, got {total}."
            " Set snapshot_format: HDF5."
        )
    return iter(pieces)


def encode_blob(array: np.ndarray, diff: np.ndarray | None = None) -> bytes:
    """The bytes of a BlobProto: of a mean.binaryproto, or one entry of a solver's history."""
    return b"".join(_blob_pieces(array, diff))


def fill_raw(layer: pb.LayerParameter, read: LayerWeights) -> None:
    """Gives blobs whose numbers NVCaffe keeps as raw bytes the form that every Caffe reads.

    read: the same layer, as `parse` has it.
    """
    for blob, array in zip(layer.blobs, read.blobs, strict=True):
        if array.data.size and not (blob.data or blob.double_data):
            blob.CopyFrom(pb.BlobProto.FromString(encode_blob(array.data, array.diff)))


def decoded(data: bytes, source: str, wanted: str, decode: Callable[[Wire], T]) -> T:
    """decode's result. Where it fails because the file is of another kind, says of which.

    Raises: WeightsError.
    """
    try:
        return decode(Wire(data, source))
    except WeightsError:
        other = next((what for start, what in _SIGNATURES if data.startswith(start)), "")
        if not other and not data[:512].translate(None, _TEXT_BYTES):
            other = "a text file: give the binary file"
        if not other:
            raise
        raise WeightsError(f"{source}: expected {wanted}, got {other}.") from None


def _net(wire: Wire) -> list[LayerWeights]:
    layers = []
    for part in wire.fields(0, len(wire.data)):
        wire.where = ""
        if part.number in (_NET_NAME, _NET_LAYERS, _NET_LAYER):
            wire.want(part, BYTES)
        if part.number == _NET_LAYER:
            layers.append(_layer(wire, part, _V2))
        elif part.number == _NET_LAYERS:
            inner = [f for f in wire.fields(part.start, part.end) if f.number == _V1_LAYER]
            layers.append(_layer(wire, inner[0], _V0) if inner else _layer(wire, part, _V1))
    return layers


def _layer(wire: Wire, layer: Field, form: _Form) -> LayerWeights:
    wire.want(layer, BYTES)
    name, kind, blobs = "", "", []
    for part in wire.fields(layer.start, layer.end):
        if part.number == form.name:
            name = wire.text(part)
        elif part.number == form.type:
            kind = _type(wire, part, form)
        elif part.number == form.blobs:
            wire.want(part, BYTES)
            blobs.append(part)
    arrays = []
    for index, blob in enumerate(blobs):
        wire.where = f"layer {name!r}, blob {index}: "
        arrays.append(_blob(wire, blob.start, blob.end))
    return LayerWeights(name, kind, arrays)


def _type(wire: Wire, part: Field, form: _Form) -> str:
    if form is _V2:
        return wire.text(part)
    if form is _V0:
        old = wire.text(part)
        return V1_TO_TYPE.get(V0_TO_V1.get(old, ""), old)
    wire.want(part, VARINT)
    known = pb.V1LayerParameter.LayerType.DESCRIPTOR.values_by_number.get(part.value)
    return V1_TO_TYPE[known.name] if known else f"V1 type {part.value}"


@dataclass
class _Parts:
    """What the fields of one BlobProto hold."""

    axes: dict[int, int] = field(default_factory=dict)
    shape: list[int] | None = None
    runs: dict[tuple[str, Dtype], list[np.ndarray]] = field(default_factory=dict)
    raw: dict[str, Field] = field(default_factory=dict)
    raw_types: dict[str, int] = field(default_factory=dict)


def _blob(wire: Wire, start: int, end: int) -> BlobArray:
    parts = _Parts()
    at = start
    while at < end:
        part = wire.field(at, end)
        at = part.end
        if part.number in _NUMBERS:
            at = _numbers(wire, part, end, parts)
        elif part.number == _SHAPE:
            wire.want(part, BYTES)
            parts.shape = parts.shape or []
            for dim in wire.fields(part.start, part.end):
                parts.shape += wire.varints(dim) if dim.number == 1 else []
        elif part.number in _LEGACY_AXES:
            parts.axes.update((part.number, size) for size in wire.varints(part))
        elif part.number in _RAW_TYPE and part.kind == VARINT:
            parts.raw_types[_RAW_TYPE[part.number]] = part.value
        elif part.number in _RAW and part.kind == BYTES:
            parts.raw[_RAW[part.number]] = part
    data = _values(wire, parts, "data")
    diff = _values(wire, parts, "diff")
    count = 0 if data is None else data.size
    shape = _shape(wire, parts, count, start)
    if count != math.prod(shape):
        wire.fail(
            start,
            f"expected {math.prod(shape)} values for shape {shape}, got {count}."
            " The file is damaged.",
        )
    if diff is not None and diff.size != count:
        wire.fail(start, f"expected {count} gradients, got {diff.size}. The file is damaged.")
    return BlobArray(
        np.empty(shape, FLOAT) if data is None else data.reshape(shape),
        shape,
        bool(parts.axes),
        None if diff is None else diff.reshape(shape),
    )


def _numbers(wire: Wire, part: Field, end: int, parts: _Parts) -> int:
    """Adds a field's numbers to parts. Returns the position behind them."""
    name, dtype, kind = _NUMBERS[part.number]
    run = parts.runs.setdefault((name, dtype), [])
    if part.kind == BYTES:
        run.append(wire.packed(part, dtype))
        return part.end
    wire.want(part, kind)
    values, after = wire.unpacked(part, end, dtype)
    run.append(values)
    return after


def _values(wire: Wire, parts: _Parts, name: str) -> np.ndarray | None:
    """Doubles where there are any, else floats, else NVCaffe's raw bytes."""
    for dtype in (DOUBLE, FLOAT):
        runs = [run for run in parts.runs.get((name, dtype), ()) if run.size]
        if runs:
            return runs[0] if len(runs) == 1 else np.concatenate(runs)
    if name not in parts.raw:
        return None
    raw = parts.raw[name]
    code = parts.raw_types.get(name, pb.DOUBLE)  # the enum's first value, so not always written
    if code not in _RAW_TYPES:
        wire.fail(raw.at, f"expected raw numbers of type 0 to 4, got type {code}.")
    stored, used = _RAW_TYPES[code]
    return wire.packed(raw, stored).astype(used, copy=False)


def _shape(wire: Wire, parts: _Parts, count: int, start: int) -> tuple[int, ...]:
    if parts.axes:
        shape = tuple(parts.axes.get(axis, 0) for axis in _LEGACY_AXES)
    elif parts.shape is not None:
        shape = tuple(parts.shape)
    else:  # Caffe writes no shape for a blob without axes
        shape = () if count == 1 else (count,)
    sane = len(shape) <= MAX_AXES and min(shape, default=0) >= 0
    if not sane or math.prod(size or 1 for size in shape) > MAX_COUNT:
        wire.fail(
            start,
            f"expected at most {MAX_AXES} sizes from 0 up as shape, got {shape[:MAX_AXES]}."
            " The file is damaged.",
        )
    return shape


def _nested(number: int, pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """The pieces of a message as one field of another."""
    return [header(number, sum(map(len, pieces))), *pieces]


def _around_blobs(layer: bytes) -> tuple[bytes, bytes]:
    """The bytes of a layer without blobs, parted where those go: fields stand in the order of their
    numbers."""
    fields = Wire(layer, "").fields(0, len(layer))
    place = next((part.at for part in fields if part.number > _V2.blobs), len(layer))
    return layer[:place], layer[place:]


def _blob_pieces(data: np.ndarray, diff: np.ndarray | None) -> list[bytes | memoryview]:
    dims = b"".join(map(varint, data.shape))
    pieces: list[bytes | memoryview] = []
    kind = DOUBLE if data.dtype == np.float64 else FLOAT
    for number in sorted([*_NUMBERS, _SHAPE]):  # the order in which protobuf writes
        if number == _SHAPE:
            if dims:  # as Caffe: no shape for a blob without axes
                pieces += _nested(_SHAPE, [header(1, len(dims)), dims])
            continue
        name, dtype, _ = _NUMBERS[number]
        array = data if name == "data" else diff
        if dtype == kind and array is not None and array.size:
            packed = np.ascontiguousarray(array, kind).reshape(-1)
            pieces += _nested(number, [packed.view(np.uint8).data])
    return pieces
