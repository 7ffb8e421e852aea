"""Datum: records to arrays and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum, images
from caffepy.engine.data.db import open_db
from caffepy.proto.caffe_pb2 import AnnotatedDatum, AnnotationGroup, Datum

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8)
COLOR = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_arrays_come_back(dtype: type) -> None:
    pixels = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    record = datum.raw(pixels, -3).SerializeToString()
    back = datum.parse(record, "here")
    found = datum.array(back, "here")
    assert back.label == -3
    assert found.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize(
    ("image", "color", "expected"),
    [
        (GRAY, None, GRAY[None]),
        (COLOR, None, COLOR.transpose(2, 0, 1)),
        (GRAY, True, np.stack([GRAY] * 3)),
        (COLOR, True, COLOR.transpose(2, 0, 1)),
        (GRAY, False, GRAY[None]),
    ],
)
def test_encoded_images_are_decoded(
    image: np.ndarray, color: bool | None, expected: np.ndarray
) -> None:
    record = datum.encoded(images.encode(image, "png"), 7)
    np.testing.assert_array_equal(datum.array(record, "here", color), expected)


def test_decoding_a_color_image_to_gray_weighs_the_channels() -> None:
    record = datum.encoded(images.encode(COLOR, "png"), 7)
    expected = COLOR @ [0.114, 0.587, 0.299]
    np.testing.assert_allclose(datum.array(record, "here", False)[0], expected, atol=1)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Datum(channels=1, height=2, width=3, data=b"12345"), "5 bytes of data for 1 x 2 x 3"),
        (Datum(channels=1, height=2, width=3), "0 values for 1 x 2 x 3"),
        (Datum(channels=1, height=1, width=3, float_data=[1, 2]), "2 values for 1 x 1 x 3"),
        (Datum(channels=-1, height=-1, width=3, data=b"123"), "3 bytes of data for -1 x -1 x 3"),
        (Datum(data=b"none", encoded=True), "expected an image that OpenCV can decode"),
        (Datum(data=b"", encoded=True), "expected an image that OpenCV can decode"),
    ],
)
def test_unfit_records_are_named(record: Datum, message: str) -> None:
    with pytest.raises(DataError, match=rf"^here: .*{message}"):
        datum.array(record, "here")


def test_what_is_no_datum_is_refused() -> None:
    with pytest.raises(DataError, match=r"^here: expected a Datum message, got 4 bytes"):
        datum.parse(b"\xff\xff\xff\xff", "here")


def test_deep_images_are_refused() -> None:
    record = datum.encoded(images.encode(GRAY.astype(np.uint16), "png"), 0)
    with pytest.raises(DataError, match="expected an image with 8 bits a channel, got uint16"):
        datum.array(record, "here")


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(DataError, match="encoding 'xyz': OpenCV cannot write it"):
        images.encode(GRAY, "xyz")


@pytest.mark.parametrize("name", ["gray_lmdb", "color_png_lmdb", "mixed_resized_lmdb"])
def test_the_records_of_caffe_are_made_byte_for_byte(golden: Path, name: str) -> None:
    listed = json.loads((golden / "formats" / "databases.json").read_text())["databases"][name]
    database = open_db(golden / "formats" / "db" / name, "lmdb")
    for (key, value), expected in zip(database.records(), listed["records"], strict=True):
        record = datum.parse(value, name)
        again = datum.raw(datum.array(record, name), record.label).SerializeToString()
        assert key.decode() == expected["key"]
        assert hashlib.sha1(again).hexdigest() == expected["value_sha1"]
    database.close()


@pytest.mark.parametrize("name", ["anno_png_lmdb", "anno_raw_lmdb", "class_lmdb"])
def test_annotated_records_are_read_with_and_without_their_boxes(golden: Path, name: str) -> None:
    folder = golden / "fork_formats"
    listed = json.loads((folder / "databases.json").read_text())[name]["records"]
    database = open_db(folder / "db" / name, "lmdb")
    for (key, value), expected in zip(database.records(), listed, strict=True):
        assert key.decode() == expected["key"]
        record = datum.parse(value, name)
        assert record.label == expected["datum"]["label"]
        assert hashlib.sha1(record.data).hexdigest() == expected["data_sha1"]
        assert datum.array(record, name).shape == (3, record.height, record.width)
        annotated = datum.parse_annotated(value, name)
        assert annotated.datum == record
        assert [boxes(group) for group in annotated.annotation_group] == [
            (
                group["group_label"],
                [(one["instance_id"], one["bbox"]) for one in group["annotation"]],
            )
            for group in expected.get("annotation_group", ())
        ]
    database.close()


def boxes(group: AnnotationGroup) -> tuple[int, list[tuple[int, list[float]]]]:
    """Label, and for each annotation its number and box."""
    found = [
        (one.instance_id, [one.bbox.xmin, one.bbox.ymin, one.bbox.xmax, one.bbox.ymax])
        for one in group.annotation
    ]
    return group.group_label, found


def test_a_plain_record_is_an_annotated_one_without_boxes() -> None:
    record = datum.raw(GRAY[None], 3)
    annotated = datum.parse_annotated(record.SerializeToString(), "here")
    assert annotated == AnnotatedDatum(datum=record)
    with pytest.raises(DataError, match=r"^here: expected a Datum message, got 3 bytes"):
        datum.parse(b"\x0a\xff\x01", "here")


@pytest.mark.parametrize("image", [COLOR, GRAY])
@pytest.mark.parametrize("label", [0, 7, -3])
def test_serialized_bytes_are_protobufs(image: np.ndarray, label: int) -> None:
    raw = datum.raw(images.planes(image), label)
    assert datum.serialized_pixels(image, label) == raw.SerializeToString()
    file = datum.encoded(b"file", label)
    assert datum.serialized_file(b"file", label) == file.SerializeToString()
