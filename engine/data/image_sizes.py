"""The sizes of the images that a detection net is tested on, and boxes in their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import Message

from caffepy.engine.core.errors import DataError, NetError
from caffepy.proto.caffe_pb2 import ResizeParameter

_MOST = 1 << 24  # pixels, that a float32 holds exactly


@dataclass(frozen=True)
class ImageSize:
    """One line of a list of sizes. height, width: in pixels, before the image was resized."""

    name: str
    height: int
    width: int


def read_image_sizes(path: Path) -> list[ImageSize]:
    """The images in a text file with a name, a height and a width on each line.

    Raises: DataError where it cannot be read, naming the line, or lists nothing.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(
            f"{path}: the list of sizes cannot be read: {error.strerror}. Fix the path."
        ) from None
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        sizes = [int(word) for word in words[1:] if word.isascii() and word.isdigit()]
        if len(words) != 3 or len(sizes) != 2 or not all(0 < size < _MOST for size in sizes):
            raise DataError(
                f"{path}:{number}: expected a name without blanks, a height and a width in pixels, "
                f"got '{line.strip()[:100]}'. Correct the line."
            )
        found.append(ImageSize(words[0], *sizes))
    if not found:
        raise DataError(
            f"{path}: expected lines of a name, a height and a width, got none. List the images in "
            "the order in which the net gets them."
        )
    return found


def resize_of(message: Message, where: str) -> ResizeParameter | None:
    """What the field resize_param of a message says; None where it says nothing.

    where: of the message.  Raises: NetError where it lacks the size of the net's input.
    """
    if not message.HasField("resize_param"):
        return None
    resize: ResizeParameter = message.resize_param  # type: ignore[attr-defined]
    if not (resize.height and resize.width):
        raise NetError(
            f"{where}.resize_param: expected height and width of the net's input, got "
            f"{resize.height} x {resize.width}. Set both."
        )
    return resize


def boxes_in_pixels(
    boxes: np.ndarray, size: ImageSize, resize: ResizeParameter | None
) -> np.ndarray:
    """boxes: (n, 4) float32, xmin, ymin, xmax, ymax as fractions of the net's input.
    Returns (n, 4) float32: in pixels of the image, clipped to it.

    resize: how the image was made to fit into the net; None: stretched.
    """
    mode = None if resize is None else resize.resize_mode
    limits = np.array([size.width, size.height] * 2, np.float32)
    if resize is not None and mode == ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        boxes = _without_padding(boxes, size, resize)
    if (
        resize is not None
        and mode == ResizeParameter.FIT_SMALL_SIZE
        and resize.height_scale
        and resize.width_scale
    ):
        scales = np.array([resize.width_scale, resize.height_scale] * 2, np.float32)
        found: np.ndarray = np.clip(boxes * scales, 0, limits)
    else:
        found = np.clip(boxes, 0, 1) * limits
    return found


def _without_padding(boxes: np.ndarray, size: ImageSize, resize: ResizeParameter) -> np.ndarray:
    """Boxes as fractions of the image, given as fractions of the area that it was padded to; one
    that lies in the padding stays as it is."""
    height, width = np.float32(resize.height), np.float32(resize.width)
    aspect = np.float32(size.width) / np.float32(size.height)
    margin_x = margin_y = np.float32(0)
    if aspect > width / height:
        margin_y = (height - width / aspect) / 2 / height
    else:
        margin_x = (width - height * aspect) / 2 / width
    low = np.array([margin_x, margin_y], np.float32)
    high = 1 - low
    outside = np.any((boxes[:, :2] >= high) | (boxes[:, 2:] <= low), axis=1, keepdims=True)
    moved = (boxes - np.tile(low, 2)) / np.tile(high - low, 2)
    return np.where(outside, boxes, moved)
