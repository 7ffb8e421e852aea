"""Protobuf's wire format, read field by field without a schema.

A fork's numbering cannot hurt a reader that looks at names and blobs only, and nothing is copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np

from caffepy.proto.errors import WeightsError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_KINDS = {VARINT: "a varint", FIXED64: "8 bytes", BYTES: "a block of bytes", FIXED32: "4 bytes"}
_REMEDY = " The file is damaged, or of another kind: fetch it again, or give the right one."


class Field(NamedTuple):
    """One field: its number, wire type, and where it and its payload stand in the data."""

    number: int
    kind: int
    at: int  # of the tag
    start: int  # of the payload
    end: int
    value: int  # of a varint


class Wire:
    """The bytes of one file.

    where: what is being read, for errors; the reader of the message keeps it up to date.
    """

    def __init__(self, data: bytes | memoryview | mmap.mmap, source: str) -> None:
        self.data = memoryview(data).cast("B")
        self.source = source
        self.where = ""

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message in data[start:end]. Raises: WeightsError."""
        while start < end:
            field = self.field(start, end)
            yield field
            start = field.end

    def field(self, at: int, end: int) -> Field:
        """The field that starts at `at`, in a message that ends at `end`. Raises: WeightsError."""
        tag, start = self._varint(at, end)
        number, kind = tag >> 3, tag & 7
        size = value = 0
        if kind == VARINT:
            value, after = self._varint(start, end)
            size = after - start
        elif kind == BYTES:
            size, start = self._varint(start, end)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            self.fail(at, f"expected a field, got wire type {kind}.{_REMEDY}")
        if number == 0:
            self.fail(at, f"expected a field, got number 0.{_REMEDY}")
        if start + size > end:
            self.fail(
                at,
                f"expected {size} bytes of field {number}, got {end - start}."
                " The file is cut off or damaged: fetch it again.",
            )
        return Field(number, kind, at, start, start + size, value)

    def text(self, field: Field) -> str:
        self.want(field, BYTES)
        return decoded(bytes(self.data[field.start : field.end]))

    def varints(self, field: Field) -> list[int]:
        """The integers of a repeated field's entry, packed or not, as int64."""
        if field.kind == VARINT:
            return [_signed(field.value)]
        self.want(field, BYTES)
        values, at = [], field.start
        while at < field.end:
            value, at = self._varint(at, field.end)
            values.append(_signed(value))
        return values

    def packed(self, field: Field, dtype: np.dtype[Any]) -> np.ndarray:
        """A view of a packed field's numbers. dtype: little-endian."""
        size = field.end - field.start
        if size % dtype.itemsize:
            self.fail(
                field.at, f"expected a multiple of {dtype.itemsize} bytes of numbers, got {size}."
            )
        return np.frombuffer(self.data[field.start : field.end], dtype)

    def unpacked(self, field: Field, end: int, dtype: np.dtype[Any]) -> tuple[np.ndarray, int]:
        """The numbers of a run of fields like this one, copied, and the position behind it.

        end: of the message.
        """
        stride = 1 + dtype.itemsize
        if field.end - field.at != stride:  # an overlong tag: legal, and never seen
            return np.frombuffer(self.data[field.start : field.end], dtype), field.end
        tag = self.data[field.at]
        rows = np.frombuffer(self.data[field.at : end], np.uint8)
        rows = rows[: len(rows) // stride * stride].reshape(-1, stride)
        count, step = 0, 16  # doubled on success: a short run in a long message stays cheap
        while count < len(rows):
            same = rows[count : count + step, 0] == tag
            if not same.all():
                count += int(same.argmin())
                break
            count += len(same)
            step *= 2
        values = np.ascontiguousarray(rows[:count, 1:]).view(dtype).reshape(-1)
        return values, field.at + count * stride

    def want(self, field: Field, kind: int) -> None:
        """Refuses a field of another wire type."""
        if field.kind != kind:
            self.fail(
                field.at,
                f"expected {_KINDS[kind]} as field {field.number}, got {_KINDS[field.kind]}."
                " The file is damaged, or of another kind.",
            )

    def fail(self, at: int, what: str) -> NoReturn:
        raise WeightsError(f"{self.source}: byte {at}: {self.where}{what}")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """The value and the position behind it."""
        value = shift = 0
        for position in range(at, min(end, at + 10)):
            byte = self.data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position + 1
            shift += 7
        if end < at + 10:
            self.fail(at, "expected a number, got the end of the data. The file is cut off.")
        self.fail(at, "expected a number, got more than 10 bytes of one. The file is damaged.")


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def decoded(text: bytes) -> str:
    """The characters of a string, which Caffe takes from a prototxt of any encoding: those that
    reading such a prototxt gives."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def varint(value: int) -> bytes:
    """The bytes of a non-negative number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def header(number: int, size: int) -> bytes:
    """What stands before a block of `size` bytes."""
    return varint(number << 3 | BYTES) + varint(size)
