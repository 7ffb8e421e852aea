"""noise_param: what the SSD fork does to images between scaling and cropping them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import image_changes as change
from caffepy.engine.data.images import opencv
from caffepy.proto.caffe_pb2 import NoiseParameter

_BLUR, _BLUR_SIGMA = (7, 7), 1.5  # pixels
_CLIP_LIMIT = 4  # of clahe
_LEVEL = 64  # grey levels that posterize makes one of
_WORDS = 1 << 40  # where a sample's random words for salt and pepper begin
_OF_COLOUR = ("decolorize", "convert_to_hsv")


class Noise:
    """What a noise_param asks for; `Transformer` tells its fields and their order.

    It acts in both phases: most of it is no chance but a way to prepare images. Salt and pepper
    fall where the sample's number says.

    Raises: NetError for parameters that make no sense.
    Source: the SSD fork's im_transforms.cpp.
    """

    def __init__(self, param: NoiseParameter, *, stream: Stream, where: str) -> None:
        self.param = param
        self.stream = stream
        self.where = where
        self._check()
        asked = {field.name for field, value in param.ListFields() if value}
        steps: tuple[tuple[str, Callable[[np.ndarray], Any]], ...] = (
            ("decolorize", _decolorized),
            ("gauss_blur", lambda image: opencv().GaussianBlur(image, _BLUR, _BLUR_SIGMA)),
            ("hist_eq", lambda image: _with_lightness(image, opencv().equalizeHist)),
            ("clahe", lambda image: _with_lightness(image, _clahe)),
            ("jpeg", lambda image: _through_jpeg(image, int(param.jpeg))),
            ("erode", _eroded),
            ("posterize", lambda image: opencv().LUT(image, _POSTER)),
            ("inverse", np.invert),
        )
        if param.jpeg <= 0:
            asked.discard("jpeg")
        self._steps = [step for name, step in steps if name in asked]

    def applied(self, pixels: np.ndarray, number: int, name: str) -> np.ndarray:
        """The image (H, W, C) of bytes of sample `number`, changed. name: of it, in errors.

        Raises: DataError where the image has channels that it has no way with.
        """
        self._check_channels(pixels.shape[2], name)
        for step in self._steps:
            pixels = change.channels_last(step(pixels))
        if self.param.saltpepper:
            pixels = self._peppered(pixels, number)
        if self.param.convert_to_hsv:
            cv2 = opencv()
            pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV))
        return pixels

    def _peppered(self, pixels: np.ndarray, number: int) -> np.ndarray:
        """A copy with single pixels at random places, which may come together."""
        height, width = pixels.shape[:2]
        param = self.param.saltpepper_param
        count = math.floor(np.float32(param.fraction) * np.float32(width) * np.float32(height))
        draws = self.stream.uniform(number + 1, 2 * count, _WORDS).reshape(2, count)
        peppered: np.ndarray = pixels.copy()
        rows, columns = (draws * [[height], [width]]).astype(np.intp)
        peppered[rows, columns] = [int(value) for value in param.value]
        return peppered

    def _check_channels(self, channels: int, name: str) -> None:
        coloured = [field for field in _OF_COLOUR if getattr(self.param, field)]
        values = len(self.param.saltpepper_param.value)
        if channels == 4 or (channels == 1 and coloured):
            what = " and ".join(coloured) if channels == 1 else "it"
            raise DataError(
                f"{self.where}: {name}: transform_param.noise_param: expected 3 channels for "
                f"{what}, got {channels}. Set force_color, or remove it."
            )
        if self.param.saltpepper and values not in (1, channels):
            raise DataError(
                f"{self.where}: {name}: transform_param.noise_param.saltpepper_param.value: "
                f"expected one, or one for each of {channels} channel(s), got {values}. Correct "
                "their number."
            )

    def _check(self) -> None:
        param = self.param
        if param.HasField("prob") and param.prob != 1:
            log.warning(
                f"{self.where}: transform_param.noise_param.prob does nothing, as in the SSD fork: "
                "all images are changed."
            )
        if param.convert_to_lab:
            self._refuse(
                "convert_to_lab",
                "it to be left out, since the SSD fork takes the bytes of its floats for pixels",
                "true",
            )
        if param.jpeg > 100:
            self._refuse("jpeg", "a quality of 1 to 100, or 0 for none", f"{param.jpeg:g}")
        pepper = param.saltpepper_param
        if not 0 <= pepper.fraction <= 1:
            self._refuse("saltpepper_param.fraction", "0 to 1", f"{pepper.fraction:g}")
        if param.saltpepper and not pepper.value:
            self._refuse("saltpepper_param.value", "the pixels' value, one or one a channel", "0")
        for value in pepper.value:
            if not 0 <= value <= 255:
                self._refuse("saltpepper_param.value", "0 to 255", f"{value:g}")

    def _refuse(self, what: str, expected: str, got: str) -> NoReturn:
        raise NetError(
            f"{self.where}: transform_param.noise_param.{what}: expected {expected}, got {got}. "
            "Correct it."
        )


_POSTER = (np.arange(256) // _LEVEL * _LEVEL + _LEVEL // 2).astype(np.uint8)


def _decolorized(image: np.ndarray) -> Any:
    cv2 = opencv()
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def _with_lightness(image: np.ndarray, changed: Callable[[np.ndarray], Any]) -> Any:
    """The image with its lightness changed, all that one channel has."""
    if image.shape[2] == 1:
        return changed(image)
    cv2 = opencv()
    light = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    light[:, :, 0] = changed(np.ascontiguousarray(light[:, :, 0]))
    return cv2.cvtColor(light, cv2.COLOR_YCrCb2BGR)


def _clahe(plane: np.ndarray) -> Any:
    return opencv().createCLAHE(clipLimit=_CLIP_LIMIT).apply(plane)


def _through_jpeg(image: np.ndarray, quality: int) -> Any:
    cv2 = opencv()
    _, file = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(file, cv2.IMREAD_COLOR if image.shape[2] == 3 else cv2.IMREAD_GRAYSCALE)


def _eroded(image: np.ndarray) -> Any:
    cv2 = opencv()
    return cv2.erode(image, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
