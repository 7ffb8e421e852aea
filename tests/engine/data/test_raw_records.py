"""Raw records read many at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.data import datum, raw_records
from caffepy.proto.caffe_pb2 import Datum

LABELS = st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(0, 300)


def record(label: int | None = 1, shape: tuple[int, int, int] = (2, 3, 4), value: int = 0) -> bytes:
    made = datum.raw(np.full(shape, value, np.uint8), label or 0)
    if label is None:
        made.ClearField("label")
    return made.SerializeToString()


@settings(max_examples=50, deadline=None)
@given(labels=st.lists(LABELS, min_size=1, max_size=12))
def test_what_is_read_is_what_protobuf_reads(labels: list[int]) -> None:
    values = [record(label, value=index) for index, label in enumerate(labels)]
    found = raw_records.read(values)
    if len({len(value) for value in values}) > raw_records.MOST_LENGTHS:
        assert found is None
        return
    assert found is not None
    assert found.labels.tolist() == labels
    for value, image in zip(values, found.images, strict=True):
        np.testing.assert_array_equal(image, datum.array(datum.parse(value, "here"), "here"))


def test_records_without_labels_have_label_0() -> None:
    found = raw_records.read([record(None), record(3), record(None)])
    assert found is not None
    assert found.labels.tolist() == [0, 3, 0]


@pytest.mark.parametrize(
    "other",
    [
        b"",
        record()[:-1],
        Datum(channels=2, height=3, width=4, float_data=[1.0] * 24, label=1).SerializeToString(),
        datum.encoded(b"an image", 1).SerializeToString(),
        Datum(channels=2, height=3, width=5, data=bytes(24), label=1).SerializeToString(),
        record() + record(),
        bytes(len(record())),
    ],
)
def test_other_records_are_left_to_be_read_one_by_one(other: bytes) -> None:
    for values in ([other], [record(), other], [other, record()]):
        assert raw_records.read(values) is None


@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 1, 1)])
def test_records_of_other_shapes_are_not_read_together(shape: tuple[int, int, int]) -> None:
    assert raw_records.read([record(shape=shape)] * 2) is not None
    assert raw_records.read([record(), record(shape=shape)]) is None


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_changed_bytes_are_read_as_protobuf_reads_them_or_not_at_all(data: st.DataObject) -> None:
    value = bytearray(record(200))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    found = raw_records.read([record(200), bytes(value)])
    if found is not None:
        read = datum.parse(bytes(value), "here")
        assert found.labels[1] == read.label
        np.testing.assert_array_equal(found.images[1], datum.array(read, "here"))


@pytest.mark.parametrize("big", [1, 1 << 20])
def test_views_are_the_images_or_none(monkeypatch: pytest.MonkeyPatch, big: int) -> None:
    monkeypatch.setattr(raw_records, "BIG_BYTES", big)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 2), np.uint8)
    values = [datum.raw(image, 99 * i).SerializeToString() for i, image in enumerate(pixels)]
    found = raw_records.views(values)
    assert found is not None
    np.testing.assert_array_equal(list(found), pixels)
    for other in (
        datum.raw(pixels[0, :1], 0).SerializeToString(),
        datum.raw(pixels[0] / np.float32(2), 0).SerializeToString(),
        datum.encoded(b"file", 0).SerializeToString(),
        values[0][:-9],
    ):
        assert raw_records.views([*values, other]) is None
