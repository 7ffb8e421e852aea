"""Many Datum messages of raw images at a time: where they stand in a record's bytes is found once.

protobuf takes several microseconds a record, which is more than the rest of what is done to a small
image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from caffepy.engine.data.images import MOST_BYTES
from caffepy.proto.errors import WeightsError
from caffepy.proto.wire import BYTES, VARINT, Field, Wire

BIG_BYTES = 1 << 15  # of records, from which on `views` copies none
MOST_LENGTHS = 4  # of records in a group: their labels are of 1 to 3 bytes, or none

_CHANNELS, _HEIGHT, _WIDTH, _DATA, _LABEL, _ENCODED = 1, 2, 3, 4, 5, 7  # fields of Datum
_KINDS = {
    _CHANNELS: VARINT, _HEIGHT: VARINT, _WIDTH: VARINT, _DATA: BYTES, _LABEL: VARINT,
    _ENCODED: VARINT,
}  # fmt: skip


@dataclass(frozen=True)
class RawRecords:
    """Records of one shape. labels: (n,) int32.  images: (n, C, H, W) uint8, not to be written."""

    labels: np.ndarray
    images: np.ndarray


def read(values: Sequence[bytes]) -> RawRecords | None:
    """The records in these bytes, where all of them are raw images of one shape; None where not, or
    where one is damaged: then `datum` reads them one by one."""
    groups: dict[int, list[int]] = {}  # numbers of records, by length
    for number, value in enumerate(values):
        groups.setdefault(len(value), []).append(number)
    if len(groups) > MOST_LENGTHS or max(groups) > MOST_BYTES:
        return None
    if len(groups) == 1:
        return _alike(values)
    parts: list[tuple[list[int], RawRecords]] = []
    for numbers in groups.values():
        part = _alike([values[number] for number in numbers])
        if part is None or (parts and part.images.shape[1:] != parts[0][1].images.shape[1:]):
            return None
        parts.append((numbers, part))
    labels = np.empty(len(values), np.int32)
    images = np.empty((len(values), *parts[0][1].images.shape[1:]), np.uint8)
    for numbers, part in parts:
        labels[numbers], images[numbers] = part.labels, part.images
    return RawRecords(labels, images)


def views(values: Sequence[bytes]) -> Iterable[np.ndarray] | None:
    """The images (C, H, W) uint8 in these bytes, not to be written; None as `read`.

    Big ones stay where they are: to copy them takes longer than to look for each.
    """
    if sum(map(len, values)) < BIG_BYTES * len(values):
        raw = read(values)
        return None if raw is None else raw.images
    found: list[np.ndarray] = []
    for value in values:
        form = _form(value) if len(value) <= MOST_BYTES else None
        if form is None or (found and found[0].shape != form.shape):
            return None
        start, end = form.data
        found.append(np.frombuffer(value, np.uint8, end - start, start).reshape(form.shape))
    return found


@dataclass(frozen=True)
class _Form:
    """Where things stand in records of one length: the first byte and the one after the last."""

    shape: tuple[int, int, int]
    data: tuple[int, int]
    label: tuple[int, int]


def _alike(values: Sequence[bytes]) -> RawRecords | None:
    """Records of one length: those whose bytes besides data and label are those of the first."""
    form = _form(values[0])
    if form is None:
        return None
    rows = np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)
    (data, data_end), (label, label_end) = form.data, form.label
    labelled, at = rows[:, label:label_end], 0
    for start, end in sorted((form.data, form.label)):
        if (rows[1:, at:start] != rows[0, at:start]).any():
            return None
        at = max(at, end)
    if (rows[1:, at:] != rows[0, at:]).any() or ((labelled ^ labelled[0]) & 0x80).any():
        return None
    numbers = np.zeros(len(values), np.uint64)
    for place in range(label_end - label):
        low = (labelled[:, place] & np.uint8(0x7F)).astype(np.uint64)
        numbers |= low << np.uint64(7 * place)
    images = rows[:, data:data_end].reshape(len(values), *form.shape)
    return RawRecords(numbers.astype(np.uint32).view(np.int32), images)


def _form(value: bytes) -> _Form | None:
    """Of a raw image with each field at most once."""
    wire, found = Wire(value, ""), dict[int, Field]()
    try:
        for field in wire.fields(0, len(value)):
            if field.number in found or _KINDS.get(field.number) != field.kind:
                return None
            found[field.number] = field
    except WeightsError:
        return None
    if not found.keys() >= {_CHANNELS, _HEIGHT, _WIDTH, _DATA}:
        return None
    channels, height, width = (found[axis].value for axis in (_CHANNELS, _HEIGHT, _WIDTH))
    data = found[_DATA]
    encoded = _ENCODED in found and found[_ENCODED].value
    if encoded or not data.end - data.start == channels * height * width > 0:
        return None
    label = (found[_LABEL].start, found[_LABEL].end) if _LABEL in found else (0, 0)
    return _Form((channels, height, width), (data.start, data.end), label)
