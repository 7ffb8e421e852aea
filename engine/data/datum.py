"""Datum: one record of a Caffe database, an array of three axes and a label.

The SSD family's databases hold AnnotatedDatums: a Datum with boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import images
from caffepy.proto.caffe_pb2 import AnnotatedDatum, AnnotationGroup, Datum
from caffepy.proto.wire import header

M = TypeVar("M", Datum, AnnotatedDatum)

_DATUM = AnnotatedDatum.DESCRIPTOR.fields_by_name["datum"].number
_DATA = Datum.DESCRIPTOR.fields_by_name["data"].number
_MESSAGE_FIRST = b"\x0a"  # field 1, of a known number of bytes


def parse(value: bytes, where: str) -> Datum:
    """The Datum in a record's bytes, also where it is annotated. Raises: DataError, beginning with
    `where`."""
    if is_annotated(value):
        return parse_annotated(value, where).datum
    return _parse(Datum, value, where)


def is_annotated(value: bytes) -> bool:
    """Whether a record's bytes are those of an AnnotatedDatum. Its first field is a message; that
    of a Datum is a number."""
    return value[:1] == _MESSAGE_FIRST


def parse_annotated(value: bytes, where: str) -> AnnotatedDatum:
    """The AnnotatedDatum in a record's bytes; a plain Datum becomes one without annotations.

    Raises: DataError, beginning with `where`.
    """
    if is_annotated(value):
        return _parse(AnnotatedDatum, value, where)
    return AnnotatedDatum(datum=_parse(Datum, value, where))


def _parse(kind: type[M], value: bytes, where: str) -> M:
    images.check_size(len(value), where)
    try:
        return kind.FromString(value)
    except DecodeError:
        raise DataError(
            f"{where}: expected a Datum message, got {len(value)} bytes that are none. Make the "
            "database with convert_imageset or another tool of Caffe's."
        ) from None


def array(datum: Datum, where: str, color: bool | None = None) -> np.ndarray:
    """(channels, height, width): uint8 for raw and encoded images, float32 for float_data.

    color: True and False decode an encoded image to 3 channels and to 1; raw data stays as it is.
    Raises: DataError, beginning with `where`.
    """
    data = datum.data
    if datum.encoded:
        return images.planes(images.decode(data, where, color))
    shape = datum.channels, datum.height, datum.width
    values: np.ndarray
    if data:
        values, kind = np.frombuffer(data, np.uint8), "bytes of data"
    else:
        values, kind = np.array(datum.float_data, np.float32), "values"
    if min(shape) < 1 or values.size != shape[0] * shape[1] * shape[2]:
        raise DataError(
            f"{where}: expected channels x height x width values, got {values.size} {kind} for "
            f"{' x '.join(map(str, shape))}. Make the database again; if it holds something other "
            "than Datum messages, use the layer that reads those."
        )
    return values.reshape(shape)


def raw(pixels: np.ndarray, label: int) -> Datum:
    """A Datum of an array (channels, height, width): bytes where it is uint8, else floats."""
    channels, height, width = pixels.shape
    datum = Datum(channels=channels, height=height, width=width, label=label, encoded=False)
    if pixels.dtype == np.uint8:
        datum.data = pixels.tobytes()
    else:
        datum.float_data.extend(pixels.astype(np.float32).reshape(-1).tolist())
    return datum


def encoded(file: bytes, label: int) -> Datum:
    """A Datum of the bytes of an image file."""
    return Datum(data=file, label=label, encoded=True)


def serialized_file(file: bytes, label: int, size: tuple[int, int, int] | None = None) -> bytes:
    """The bytes of a Datum of the bytes of an image file. size: height, width and channels where
    they are to be told besides."""
    before = b""
    if size is not None:
        height, width, channels = size
        before = Datum(channels=channels, height=height, width=width).SerializeToString()
    return b"".join((before, header(_DATA, len(file)), file, _after(label, encoded=True)))


def serialized_pixels(image: np.ndarray, label: int) -> bytearray:
    """The bytes of a Datum of the pixels of an image, (H, W, C) or (H, W), written in one go.

    They are protobuf's, which takes fifty times as long for a big image.
    """
    height, width, channels = (*image.shape, 1)[:3]
    sizes = Datum(channels=channels, height=height, width=width).SerializeToString()
    before, after = sizes + header(_DATA, image.size), _after(label, encoded=False)
    record = bytearray(len(before) + image.size + len(after))
    record[: len(before)], record[len(record) - len(after) :] = before, after
    pixels = np.frombuffer(record, np.uint8, image.size, len(before))
    images.split(image, pixels.reshape(channels, height, width))
    return record


def annotated(datum: bytes | bytearray, groups: Sequence[AnnotationGroup] | None) -> bytes:
    """The bytes of an AnnotatedDatum of those of a Datum and its boxes; None: of no type."""
    rest = AnnotatedDatum(annotation_group=groups)
    if groups is not None:
        rest.type = AnnotatedDatum.BBOX
    return b"".join([header(_DATUM, len(datum)), datum, rest.SerializeToString()])


def _after(label: int, encoded: bool) -> bytes:
    """What follows the data."""
    return Datum(label=label, encoded=encoded).SerializeToString()
