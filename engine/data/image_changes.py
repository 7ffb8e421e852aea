"""Changes of images that data layers make on request: size, rotation, colours, erased parts.

Images are (H, W, C) uint8, of 1, 3 or 4 channels, BGR. None of these functions draws random
numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.data.images import check_size, opencv
from caffepy.proto.caffe_pb2 import ResizeParameter

_SATURATION, _HUE = 1, 0  # channels of HSV


def resized(
    image: np.ndarray, height: int, width: int, interpolation: int | None, where: str
) -> np.ndarray:
    """The image in another size; interpolation: OpenCV's number, None: bilinear.

    Raises: DataError, beginning with `where`, where OpenCV cannot, or it would have too many bytes.
    """
    check_size(height * width * image.shape[2], where)
    cv2 = opencv()
    mode = cv2.INTER_LINEAR if interpolation is None else interpolation
    try:
        return channels_last(cv2.resize(image, (width, height), interpolation=mode))
    except cv2.error as error:
        raise DataError(
            f"{where}: resizing {image.shape[0]} x {image.shape[1]} to {height} x {width}: OpenCV "
            f"cannot ({' '.join(str(error).split())}). Choose another size."
        ) from None


def fitted_size(param: ResizeParameter, height: int, width: int) -> tuple[int, int]:
    """The height and width that an image of height x width is scaled to by resize_param: without
    the padding. Source: the SSD fork's im_transforms.cpp."""
    if param.resize_mode == ResizeParameter.WARP:
        return param.height, param.width
    single = np.float32  # as there
    aspect, wanted = single(width) / single(height), single(param.width) / single(param.height)
    by_width = aspect > wanted
    if param.resize_mode == ResizeParameter.FIT_SMALL_SIZE:
        by_width = aspect < wanted
    if by_width:
        return math.floor(single(param.width) / aspect), param.width
    return param.height, math.floor(aspect * single(param.height))


def padded(image: np.ndarray, param: ResizeParameter) -> np.ndarray:
    """The image in the middle of resize_param's height x width."""
    cv2 = opencv()
    border = {
        ResizeParameter.CONSTANT: cv2.BORDER_CONSTANT,
        ResizeParameter.MIRRORED: cv2.BORDER_REFLECT_101,
        ResizeParameter.REPEAT_NEAREST: cv2.BORDER_REPLICATE,
    }[param.pad_mode]
    free_h, free_w = param.height - image.shape[0], param.width - image.shape[1]
    above, left = free_h // 2, free_w // 2
    values = list(param.pad_value) or [0.0]
    values = values * 4 if len(values) == 1 else values
    return channels_last(
        cv2.copyMakeBorder(image, above, free_h - above, left, free_w - left, border, value=values)
    )


def rotated(image: np.ndarray, degrees: int) -> np.ndarray:
    """The image turned about its middle, counter-clockwise, in its size; what comes from outside of
    it is 0."""
    cv2 = opencv()
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return channels_last(cv2.warpAffine(image, matrix, (width, height)))


def levels(image: np.ndarray, factor: float, summand: float) -> np.ndarray:
    """image * factor + summand, rounded, in 0 to 255."""
    table = np.clip(np.rint(np.arange(256) * factor + summand), 0, 255).astype(np.uint8)
    return channels_last(opencv().LUT(image, table))


def saturated(image: np.ndarray, factor: float) -> np.ndarray:
    """The image with its saturation times `factor`."""
    return _in_hsv(image, _SATURATION, factor, 0)


def hue_turned(image: np.ndarray, summand: float) -> np.ndarray:
    """The image with `summand` added to its hue, in units of two degrees."""
    return _in_hsv(image, _HUE, 1, summand)


def _in_hsv(image: np.ndarray, channel: int, factor: float, summand: float) -> np.ndarray:
    cv2 = opencv()
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    hsv[:, :, channel] = levels(np.ascontiguousarray(hsv[:, :, channel]), factor, summand)[..., 0]
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))


def channels_last(image: Any) -> np.ndarray:
    """(H, W, C), where OpenCV leaves out the axis of one channel."""
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array
