"""Lists of sizes, and boxes in pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from caffepy.engine.core.errors import DataError
from caffepy.engine.data.image_sizes import ImageSize, boxes_in_pixels, read_image_sizes
from caffepy.proto.caffe_pb2 import ResizeParameter

WIDE = ImageSize("wide", 100, 200)


def pixels(box: list[float], fields: str | None = None, size: ImageSize = WIDE) -> list[float]:
    """What becomes of one box."""
    resize = None if fields is None else text_format.Parse(fields, ResizeParameter())
    (found,) = boxes_in_pixels(np.array([box], np.float32), size, resize)
    assert found.dtype == np.float32
    return found.tolist()


def test_a_list_of_sizes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sizes.txt"
    path.write_bytes(b"\xef\xbb\xbfone 300 400\r\n\r\n  two 200\t500\r\n\xe4 1 2")
    assert read_image_sizes(path) == [
        ImageSize("one", 300, 400),
        ImageSize("two", 200, 500),
        ImageSize("\udce4", 1, 2),
    ]


@pytest.mark.parametrize(
    "line", ["two 3", "two 3 x", "two 3 4 5", "two 0 4", "2 -1 4", "two 3 4e2"]
)
def test_a_bad_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "sizes.txt"
    path.write_text(f"one 1 2\n{line}\n")
    with pytest.raises(DataError, match=f"sizes.txt:2: expected a name .* got '{line}'"):
        read_image_sizes(path)


def test_an_empty_or_missing_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text("\n")
    with pytest.raises(DataError, match="expected lines of a name, a height and a width, got none"):
        read_image_sizes(tmp_path / "sizes.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_image_sizes(tmp_path)


def test_boxes_are_clipped_and_stretched() -> None:
    for fields in (None, "height: 300 width: 300", "resize_mode: FIT_SMALL_SIZE height_scale: 9"):
        assert pixels([-0.5, 0.25, 1.5, 0.5], fields) == [0, 25, 200, 50]


def test_boxes_lose_the_padding_that_made_the_image_square() -> None:
    fields = "resize_mode: FIT_LARGE_SIZE_AND_PAD height: 300 width: 300"
    # 150 of the 300 rows show the image, from 75 on
    assert pixels([0.25, 0.25, 0.5, 0.5], fields) == [50, 0, 100, 50]
    assert pixels([0, 0, 1, 1], fields) == [0, 0, 200, 100]
    assert pixels([0.25, 0.125, 0.5, 0.25], fields) == [50, 12.5, 100, 25]  # in the padding
    tall = ImageSize("tall", 200, 100)
    assert pixels([0.25, 0.25, 0.5, 0.5], fields, tall) == [0, 50, 50, 100]


def test_boxes_are_scaled_by_the_sizes_given_where_the_short_side_fits() -> None:
    fields = "resize_mode: FIT_SMALL_SIZE height: 300 height_scale: 80 width_scale: 400"
    assert pixels([0.25, 0.5, 0.75, 2], fields) == [100, 40, 200, 100]
