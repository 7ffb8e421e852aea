"""Compressed images (PNG, JPEG, ...) through OpenCV: pixels are BGR, rows from the top."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError, DeviceError
from caffepy.engine.core.units import size

MOST_BYTES = 1 << 29  # of a record or image, as it is stored and as it is decoded
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_PNG_PIXELS = 1032 * 8  # in a byte: what deflate does at best, of pixels of one bit


@functools.cache
def opencv() -> Any:
    """The module cv2. Its own threads are off: images are read in threads of ours."""
    # an image's size is what its header says: checked before memory is taken
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_BYTES // 3))
    try:
        import cv2
    except ImportError as error:
        raise DeviceError(
            f"images: the package cv2 is missing ({error}). Run `pip install "
            "opencv-python-headless`."
        ) from None
    cv2.setNumThreads(0)
    return cv2


def read(path: Path, where: str) -> bytes:
    """The bytes of an image file. Raises: DataError, beginning with `where`, where it is empty or
    cannot be read."""
    try:
        with open(path, "rb") as file:
            check_size(os.fstat(file.fileno()).st_size, where)
            data = file.read()
    except (OSError, ValueError) as error:  # a name with \0 in it is a ValueError
        hint = ": file names take / and not \\ here" if "\\" in str(path) else ""
        told = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{where}: cannot be read: {told}{hint}. Fix the name, or take it off the list."
        ) from None
    if not data:
        raise DataError(
            f"{where}: expected an image, got an empty file. Fetch it again, or take it off the "
            "list."
        )
    return data


def check_size(count: int, where: str) -> None:
    """Raises: DataError, beginning with `where`, for a record or image of too many bytes."""
    if count > MOST_BYTES:
        raise DataError(
            f"{where}: expected at most {size(MOST_BYTES)}, got {size(count)}. Make several "
            "smaller ones of it."
        )


def decode(
    data: bytes, where: str, color: bool | None = None, any_depth: bool = False
) -> np.ndarray:
    """The image in the bytes of an image file: (H, W, 3), or (H, W) where it is gray; uint8.

    color: True decodes to 3 channels, False to gray, None to what is stored (4 with alpha).
    any_depth: with color None, pixels of other types are given as they are, not refused.
    Raises: DataError, beginning with `where`.
    """
    cv2 = opencv()
    check_size(len(data), where)
    if data.startswith(_PNG):
        _check_png(data, where)
    flag = {
        None: cv2.IMREAD_UNCHANGED,
        True: cv2.IMREAD_COLOR,
        False: cv2.IMREAD_GRAYSCALE,
    }[color]
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(
            f"{where}: expected an image that OpenCV can decode, got {len(data)} bytes that it "
            "cannot. Convert or remove it."
        )
    if image.dtype != np.uint8 and not any_depth:
        raise DataError(
            f"{where}: expected an image with 8 bits a channel, got {image.dtype}. Convert it, or "
            "set transform_param's force_color or force_gray."
        )
    return np.asarray(image)


def _check_png(data: bytes, where: str) -> None:
    """Refuses a PNG file whose parts, or pixels, are more than its bytes: OpenCV takes memory for
    them before it looks."""
    end = len(data)
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    fits = width * height <= _MOST_PNG_PIXELS * end
    at = len(_PNG)
    while fits and at < end and data[at + 4 : at + 8] != b"IEND":
        at += 12 + int.from_bytes(data[at : at + 4], "big")  # length, name, content, checksum
        fits = at <= end
    if not fits:
        raise DataError(
            f"{where}: expected an image that OpenCV can decode, got {end} bytes that it cannot: "
            "the PNG file is cut off or damaged. Fetch it again, or remove it."
        )


def can_encode(extension: str) -> bool:
    """Whether OpenCV writes image files of this type."""
    return bool(opencv().haveImageWriter(f"image.{extension}"))


def encode(image: np.ndarray, extension: str) -> bytes:
    """The bytes of an image file. image: (H, W, 3) or (H, W) uint8. extension: png, jpg, ...

    Raises: DataError where OpenCV cannot write such files.
    """
    cv2 = opencv()
    try:
        _, data = cv2.imencode(f".{extension}", image)
    except cv2.error as error:
        raise DataError(
            f"encoding '{extension}': OpenCV cannot write it ({' '.join(str(error).split())}). Use "
            "png or jpg."
        ) from None
    return bytes(data)


def resize(image: np.ndarray, height: int, width: int, where: str = "") -> np.ndarray:
    """The image in another size, bilinear.

    Raises: DataError, beginning with `where`, where it is too large, or memory does not suffice.
    """
    cv2 = opencv()
    _check_resized(image, height, width, where)
    try:
        return np.asarray(cv2.resize(image, (width, height)))
    except cv2.error as error:
        raise DataError(
            f"{where and f'{where}: '}resizing to {height} x {width}: OpenCV cannot "
            f"({' '.join(str(error).split())}). Choose a smaller size."
        ) from None


def rescale(image: np.ndarray, factor: float, where: str) -> np.ndarray:
    """The image in another size, both sides times `factor`, bilinear.

    Raises: DataError, beginning with `where`, where nothing is left, it is too large, or memory
    does not suffice.
    """
    cv2 = opencv()
    _check_resized(image, int(image.shape[0] * factor), int(image.shape[1] * factor), where)
    try:
        return np.asarray(cv2.resize(image, None, fx=factor, fy=factor))
    except cv2.error as error:
        raise DataError(
            f"{where}: resizing by {factor:g}: OpenCV cannot ({' '.join(str(error).split())}). "
            "Choose another size."
        ) from None


def _check_resized(image: np.ndarray, height: int, width: int, where: str) -> None:
    count = height * width * (image.shape[2] if image.ndim > 2 else 1) * image.itemsize
    if count > MOST_BYTES:
        raise DataError(
            f"{where and f'{where}: '}resizing to {height} x {width}: expected at most "
            f"{size(MOST_BYTES)}, got {size(count)}. Choose a smaller size."
        )


def planes(image: np.ndarray) -> np.ndarray:
    """(H, W, C) or (H, W) as (C, H, W), a view."""
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


def split(image: np.ndarray, out: np.ndarray) -> None:
    """Writes an image, (H, W, C) or (H, W), to out (C, H, W), in C order."""
    if image.ndim == 2:
        out[0] = image
    else:
        opencv().split(image, list(out))


def is_interleaved(image: np.ndarray) -> bool:
    """Whether an image (C, H, W) is one of bytes that lie pixel by pixel, as it is decoded."""
    return image.dtype == np.uint8 and 1 < len(image) <= 4 and image.strides[0] == 1


class Planes:
    """Copies images of bytes plane by plane, by way of memory that it keeps for the next one."""

    def __init__(self) -> None:
        self._pixels = np.empty((0, 0, 0), np.uint8)

    def copy(self, image: np.ndarray, out: np.ndarray, mirrored: bool) -> None:
        """Writes an image (C, H, W) to out, of that shape and in C order."""
        if not is_interleaved(image):
            if mirrored:
                for plane, target in zip(image, out, strict=True):
                    opencv().flip(plane, 1, target)
            else:
                out[...] = image
            return
        cv2, pixels = opencv(), image.transpose(1, 2, 0)
        if self._pixels.shape != pixels.shape:
            self._pixels = np.empty(pixels.shape, np.uint8)
        # `split` takes ten times as long for rows that do not follow each other
        if mirrored:
            cv2.flip(pixels, 1, self._pixels)
        else:
            self._pixels[...] = pixels
        split(self._pixels, out)


def subtract(target: np.ndarray, mean: np.ndarray) -> None:
    """target (H, W) -= mean, of that shape or (1, 1); floats of one type."""
    if mean.shape == target.shape:
        opencv().subtract(target, mean, target)
    else:
        target -= mean
