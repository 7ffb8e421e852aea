"""Random changes of images beyond Caffe's crop and mirror, under the names that forks gave them."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any, NoReturn

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.core.layer import FORK_FIELDS
from caffepy.engine.core.random import Stream
from caffepy.engine.data import image_changes as change
from caffepy.engine.data import images
from caffepy.engine.data.noise import Noise
from caffepy.proto.caffe_pb2 import DistortionParameter, ResizeParameter, TransformationParameter

FIELDS = {
    "resize_param", "img_rand_resize_lower", "img_rand_resize_upper", "interpolation_algo_down",
    "interpolation_algo_up", "max_rotation_angle", "distort_param", "erase_ratio", "scale_min",
    "scale_max", "aspect_min", "aspect_max", "noise_param",
}  # fmt: skip
# OpenCV's numbers; those of TransformationParameter.InterpolationAlgo are equal to them.
_INTERPOLATION = {
    ResizeParameter.LINEAR: 1,
    ResizeParameter.AREA: 3,
    ResizeParameter.NEAREST: 0,
    ResizeParameter.CUBIC: 2,
    ResizeParameter.LANCZOS4: 4,
}
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))  # of channels
Shape = tuple[int, ...]


class _Draw(IntEnum):
    """Which of a sample's random numbers is for what: each has its own, so that none changes where
    another change is asked for."""

    CONTRAST_FIRST = 0
    BRIGHTNESS = 1
    BRIGHTNESS_BY = 2
    CONTRAST = 3
    CONTRAST_BY = 4
    SATURATION = 5
    SATURATION_BY = 6
    HUE = 7
    HUE_BY = 8
    ORDER = 9
    ORDER_OF = 10
    ROTATION = 11
    INTERPOLATION = 12
    SIZE = 13
    ERASE = 14
    ERASE_SIZE = 15
    ERASE_ASPECT = 16
    ERASE_TOP = 17
    ERASE_LEFT = 18
    ERASE_PIXELS = 32  # and up


class Augmentation:
    """What a transform_param asks for of colours, rotation, size, noise and erased parts.

    Choices are a function of the sample's number. In phase TEST only size and noise_param change
    images, and places of salt and pepper are all that is random.

    stream: random numbers, at positions from 1 up.  where: the beginning of errors.
    Raises: NetError for parameters that make no sense.
    """

    def __init__(
        self, param: TransformationParameter, *, testing: bool, stream: Stream, where: str
    ) -> None:
        self.param = param
        self.testing = testing
        self.stream = stream
        self.where = where
        self._check()
        self.noise: Noise | None = None
        if param.HasField("noise_param"):
            self.noise = Noise(param.noise_param, stream=stream, where=where)

    @staticmethod
    def wanted(param: TransformationParameter, testing: bool) -> bool:
        """Whether there is anything to do."""
        if param.img_rand_resize_lower or param.img_rand_resize_upper:
            return True
        if param.HasField("resize_param") or param.HasField("noise_param"):
            return True
        colours = param.HasField("distort_param") or param.erase_ratio
        return bool(not testing and (colours or param.max_rotation_angle))

    def shape(self, image: Shape, number: int) -> Shape:
        """The shape that sample `number`, an image (C, H, W), will have before it is cropped."""
        channels, height, width = image
        if self.param.HasField("resize_param"):
            resize = self.param.resize_param
            if resize.resize_mode == ResizeParameter.FIT_SMALL_SIZE:
                height, width = change.fitted_size(resize, height, width)
            else:
                height, width = resize.height, resize.width
        elif self.param.img_rand_resize_lower:
            height, width = self._random_size(height, width, self._draws(number))
        return channels, height, width

    def changed(self, image: np.ndarray, number: int, name: str) -> np.ndarray:
        """The image (C, H, W) of sample `number`, before it is cropped. name: of it, in errors.

        Raises: DataError for an image of floats, or with channels that it has no way with.
        """
        self._check_image(image, name)
        pixels = np.ascontiguousarray(image.transpose(1, 2, 0))  # (H, W, C)
        draws = self._draws(number)
        where = f"{self.where}: {name}"
        if not self.testing:
            if self.param.HasField("distort_param"):
                pixels = _distorted(pixels, self.param.distort_param, draws)
            angle = self.param.max_rotation_angle
            degrees = int(draws[_Draw.ROTATION] * (2 * angle + 1)) - angle
            if degrees:
                pixels = change.rotated(pixels, degrees)
        if self.param.HasField("resize_param"):
            pixels = self._fitted(pixels, draws, where)
        elif self.param.img_rand_resize_lower:
            pixels = self._randomly_sized(pixels, draws, where)
        if self.noise is not None:
            pixels = self.noise.applied(pixels, number, name)
        return images.planes(pixels)

    def erased(self, image: np.ndarray, number: int) -> np.ndarray:
        """The cropped image (C, H, W) of sample `number`, in a copy where a part is erased."""
        draws = self._draws(number)
        if self.testing or draws[_Draw.ERASE] >= self.param.erase_ratio:
            return image
        height, width = image.shape[1:]
        param = self.param
        wide = width * _between(param.scale_min, param.scale_max, draws[_Draw.ERASE_SIZE])
        high = wide * _between(param.aspect_min, param.aspect_max, draws[_Draw.ERASE_ASPECT])
        wide, high = min(int(wide), width), min(int(high), height)
        top = int(draws[_Draw.ERASE_TOP] * (height - high + 1))
        left = int(draws[_Draw.ERASE_LEFT] * (width - wide + 1))
        erased: np.ndarray = image.copy()
        part = erased[:, top : top + high, left : left + wide]
        words = self.stream.words(number + 1, -(-part.size // 8), int(_Draw.ERASE_PIXELS))
        part[...] = words.astype("<u8").view(np.uint8)[: part.size].reshape(part.shape)
        return erased

    def _draws(self, number: int) -> list[float]:
        draws: list[float] = self.stream.uniform(number + 1, int(_Draw.ERASE_PIXELS)).tolist()
        return draws

    def _fitted(self, pixels: np.ndarray, draws: list[float], where: str) -> np.ndarray:
        """What resize_param makes of an image."""
        param = self.param.resize_param
        modes = list(param.interp_mode) or [ResizeParameter.LINEAR]
        mode = modes[0 if self.testing else int(draws[_Draw.INTERPOLATION] * len(modes))]
        height, width = change.fitted_size(param, *pixels.shape[:2])
        pixels = change.resized(pixels, height, width, _INTERPOLATION[mode], where)
        if param.resize_mode == ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
            images.check_size(param.height * param.width * pixels.shape[2], where)
            pixels = change.padded(pixels, param)
        return pixels

    def _randomly_sized(self, pixels: np.ndarray, draws: list[float], where: str) -> np.ndarray:
        """The image with a shorter side of img_rand_resize_lower to img_rand_resize_upper."""
        old_h, old_w = pixels.shape[:2]
        height, width = self._random_size(old_h, old_w, draws)
        if (height, width) == (old_h, old_w):
            return pixels
        smaller = height <= old_h and width <= old_w
        param = self.param
        mode = param.interpolation_algo_down if smaller else param.interpolation_algo_up
        return change.resized(pixels, height, width, int(mode), where)

    def _random_size(self, height: int, width: int, draws: list[float]) -> tuple[int, int]:
        lower, upper = self.param.img_rand_resize_lower, self.param.img_rand_resize_upper
        draw = 0.5 if self.testing else draws[_Draw.SIZE]
        short = lower + int(draw * (upper - lower + 1))
        factor = short / min(height, width)
        return round(height * factor), round(width * factor)

    # ---- checks

    def _check_image(self, image: np.ndarray, name: str) -> None:
        channels = len(image)
        if image.dtype != np.uint8 or channels not in (1, 3, 4):
            raise DataError(
                f"{self.where}: {name}: expected an image of bytes with 1, 3 or 4 channels, which "
                f"is what {self._asked()} can change, got {image.dtype} with {channels}. Remove "
                "these fields, or write the images as bytes."
            )
        distort = self.param.distort_param
        if channels != 3 and (
            distort.hue_prob or distort.saturation_prob or distort.random_order_prob
        ):
            raise DataError(
                f"{self.where}: {name}: transform_param.distort_param: expected 3 channels for "
                f"hue, saturation and order of channels, got {channels}. Set force_color, or "
                "remove hue_prob, saturation_prob and random_order_prob."
            )
        values = len(self.param.resize_param.pad_value)
        if values not in (0, 1, channels):
            raise DataError(
                f"{self.where}: {name}: transform_param.resize_param.pad_value: expected one, or "
                f"one for each of {channels} channel(s), got {values}. Correct their number."
            )

    def _asked(self) -> str:
        names = (field.name for field, _ in self.param.ListFields())
        return " and ".join(name for name in names if name in FIELDS)

    def _check(self) -> None:
        param = self.param
        for block in ("resize_param", "distort_param", "noise_param"):
            self._refuse_unknown(block, getattr(param, block))
        if param.HasField("resize_param"):
            self._check_resize(param.resize_param)
        lower, upper = param.img_rand_resize_lower, param.img_rand_resize_upper
        if (lower or upper) and not 1 <= lower <= upper:
            self._refuse(
                "img_rand_resize_lower, img_rand_resize_upper",
                "both, the first not the larger",
                f"{lower} and {upper}",
            )
        if param.max_rotation_angle > 180:
            self._refuse("max_rotation_angle", "0 to 180 degrees", param.max_rotation_angle)
        if not 0 <= param.erase_ratio <= 1:
            self._refuse("erase_ratio", "a probability, 0 to 1", f"{param.erase_ratio:g}")
        for first, last, most in (
            ("scale_min", "scale_max", 1.0),
            ("aspect_min", "aspect_max", math.inf),
        ):
            least, largest = getattr(param, first), getattr(param, last)
            if param.erase_ratio and not 0 < least <= largest <= most:
                self._refuse(
                    f"{first}, {last}",
                    f"more than 0, not more than {most:g}, the first not the larger",
                    f"{least:g} and {largest:g}",
                )
        self._check_distortion(param.distort_param)

    def _check_resize(self, resize: ResizeParameter) -> None:
        if not resize.height or not resize.width:
            self._refuse(
                "resize_param", "height and width", f"height {resize.height}, width {resize.width}"
            )
        if resize.prob != 1:
            log.warning(
                f"{self.where}: transform_param.resize_param.prob does nothing, as in the SSD "
                "fork: all images get this size."
            )
        if self.param.img_rand_resize_lower:
            self._refuse(
                "resize_param", "it, or img_rand_resize_lower and img_rand_resize_upper", "both"
            )

    def _check_distortion(self, distort: DistortionParameter) -> None:
        for field, value in distort.ListFields():
            if field.name.endswith("_prob") and not 0 <= value <= 1:
                self._refuse(f"distort_param.{field.name}", "0 to 1", f"{value:g}")
            if field.name.endswith("_delta") and not 0 <= value < math.inf:
                self._refuse(f"distort_param.{field.name}", "0 or more", f"{value:g}")
        for kind in ("contrast", "saturation"):
            least, most = getattr(distort, f"{kind}_lower"), getattr(distort, f"{kind}_upper")
            if getattr(distort, f"{kind}_prob") and not (
                0 <= least <= most < math.inf and most > 0
            ):
                self._refuse(
                    f"distort_param.{kind}_lower, {kind}_upper",
                    "factors, the first not the larger",
                    f"{least:g} and {most:g}",
                )

    def _refuse_unknown(self, block: str, message: Any) -> None:
        """Refuses the fields of a block that other forks added."""
        for field, value in message.ListFields():
            added = field.number >= FORK_FIELDS or field.name in ("random_order", "all_effects")
            if added and value:
                self._refuse(f"{block}.{field.name}", "a field of the SSD fork's", "another's")

    def _refuse(self, what: str, expected: str, got: object) -> NoReturn:
        raise NetError(
            f"{self.where}: transform_param.{what}: expected {expected}, got {got}. Correct it."
        )


def _distorted(pixels: np.ndarray, param: DistortionParameter, draws: list[float]) -> np.ndarray:
    """Brightness, contrast, saturation, hue and order of channels, each with its probability; the
    contrast comes second or last. Source: the SSD fork's im_transforms.cpp."""
    contrast = draws[_Draw.CONTRAST] < param.contrast_prob
    contrast_by = _between(param.contrast_lower, param.contrast_upper, draws[_Draw.CONTRAST_BY])
    contrast_first = draws[_Draw.CONTRAST_FIRST] >= 0.5
    if draws[_Draw.BRIGHTNESS] < param.brightness_prob:
        delta = param.brightness_delta
        pixels = change.levels(pixels, 1, _between(-delta, delta, draws[_Draw.BRIGHTNESS_BY]))
    if contrast and contrast_first:
        pixels = change.levels(pixels, contrast_by, 0)
    if draws[_Draw.SATURATION] < param.saturation_prob:
        lower, upper = param.saturation_lower, param.saturation_upper
        pixels = change.saturated(pixels, _between(lower, upper, draws[_Draw.SATURATION_BY]))
    if draws[_Draw.HUE] < param.hue_prob:
        delta = param.hue_delta
        pixels = change.hue_turned(pixels, _between(-delta, delta, draws[_Draw.HUE_BY]))
    if contrast and not contrast_first:
        pixels = change.levels(pixels, contrast_by, 0)
    if draws[_Draw.ORDER] < param.random_order_prob:
        order = _ORDERS[int(draws[_Draw.ORDER_OF] * len(_ORDERS))]
        pixels = np.ascontiguousarray(pixels[:, :, order])
    return pixels


def _between(lower: float, upper: float, draw: float) -> float:
    """From lower to upper, for a number in [0, 1)."""
    return lower + (upper - lower) * draw
