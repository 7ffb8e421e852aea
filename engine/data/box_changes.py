"""What an AnnotatedData layer does to images and their boxes before they are scaled: other colours,
a wide border, a window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

import numpy as np

from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import images
from caffepy.engine.data.augmentation import Augmentation
from caffepy.engine.data.box_sampler import WindowSampler
from caffepy.engine.data.boxes import Boxes, window_of
from caffepy.engine.data.transformer import View
from caffepy.proto.caffe_pb2 import BatchSampler, EmitConstraint, TransformationParameter

_FIELDS = ("distort_param", "expand_param", "emit_constraint")  # of a transform_param
_NEAR_ONE = 1e-2  # borders of ratios that come no further from 1 are left out


class _Rect(NamedTuple):
    """Rows and columns of an image with its border."""

    top: int
    left: int
    height: int
    width: int


class BoxChanges:
    """The colours, border and window of each image, a function of its number.

    In phase TEST there are none. A border is filled with the mean; only what is seen of an image is
    given other colours.

    param: the layer's transform_param.  samplers: its batch_samplers.  stream: random numbers of a
    purpose.  where: the beginning of errors.
    Raises: NetError for parameters that make no sense.
    Source: the SSD fork's data_transformer.cpp.
    """

    def __init__(
        self,
        param: TransformationParameter,
        samplers: Sequence[BatchSampler],
        *,
        testing: bool,
        stream: Callable[[str], Stream],
        where: str,
    ) -> None:
        self.param = param
        self.testing = testing
        self.where = where
        self._check()
        self._borders = stream("expand")
        self._sampler = WindowSampler(samplers, stream=stream("windows"), where=where)
        colours = TransformationParameter(distort_param=param.distort_param)
        self._colours = Augmentation(
            colours, testing=testing, stream=stream("transform"), where=where
        )
        self._fill = np.clip(np.rint(list(param.mean_value) or [0]), 0, 255).astype(np.uint8)

    @property
    def emit(self) -> EmitConstraint | None:
        """What boxes have to meet that stay, besides being seen."""
        return self.param.emit_constraint if self.param.HasField("emit_constraint") else None

    @property
    def rest(self) -> TransformationParameter:
        """What is left of transform_param for a Transformer to do."""
        rest = TransformationParameter()
        rest.CopyFrom(self.param)
        for field in _FIELDS:
            rest.ClearField(field)
        return rest

    def changed(
        self, image: np.ndarray, boxes: Boxes, number: int, name: str
    ) -> tuple[np.ndarray, Boxes]:
        """The image (C, H, W) of sample `number` with its boxes. name: of it, in errors.

        Raises: DataError for an image of floats, or with channels that it has no way with.
        """
        if self.testing:
            return image, boxes
        place = self._place(image.shape[1:], number)
        if place is None:
            place = _Rect(0, 0, *image.shape[1:])
        else:
            size, image_size = (place.height, place.width), (image.shape[1], image.shape[2])
            boxes = boxes.cut(window_of(-place.top, -place.left, size, image_size), self.emit)
        taken = _Rect(0, 0, place.height, place.width)
        window = self._sampler.window(boxes.places, number)
        if window is not None:
            boxes = boxes.cut(window, self.emit)
            taken = _pixels(window, place.height, place.width)
        return self._painted(image, place, taken, number, name), boxes

    def placed(self, boxes: Boxes, image: tuple[int, ...], view: View, name: str) -> Boxes:
        """The boxes of an image (C, H, W) after it was scaled, cropped and mirrored.

        Raises: DataError where resize_param's scales do not fit, naming the image.
        """
        _, height, width = image
        param = self.param.resize_param if self.param.HasField("resize_param") else None
        if param is not None:
            boxes = boxes.resized(param, height, width)
        window = window_of(view.top, view.left, view.size, view.scaled)
        boxes = boxes.cut(window, self.emit)
        if view.mirrored:
            boxes = boxes.mirrored()
        if param is not None:
            where = f"{self.where}: {name}"
            boxes = boxes.extrapolated(param, height, width, window, where)
        return boxes

    def _place(self, image: tuple[int, ...], number: int) -> _Rect | None:
        """Where an image (height, width) lies in its border, and their height and width; None
        without a border."""
        most = self.param.expand_param.max_expand_ratio
        if not self.param.HasField("expand_param") or most - 1 < _NEAR_ONE:
            return None
        chosen, ratio, top, left = self._borders.uniform(number + 1, 4).tolist()
        if chosen >= self.param.expand_param.prob:
            return None
        factor = np.float32(1 + (most - 1) * ratio)
        height, width = (int(np.float32(side) * factor) for side in image)
        return _Rect(
            int(top * (height - image[0] + 1)), int(left * (width - image[1] + 1)), height, width
        )

    def _painted(
        self, image: np.ndarray, place: _Rect, taken: _Rect, number: int, name: str
    ) -> np.ndarray:
        """What is taken of an image in its border, (C, height, width)."""
        channels, height, width = image.shape
        top, bottom = max(taken.top, place.top), min(taken.top + taken.height, place.top + height)
        left, right = max(taken.left, place.left), min(taken.left + taken.width, place.left + width)
        seen = image[
            :,
            top - place.top : max(top, bottom) - place.top,
            left - place.left : max(left, right) - place.left,
        ]
        if self.param.HasField("distort_param") and seen.size:
            seen = self._colours.changed(seen, number, name)
        if seen.shape[1:] == taken[2:]:
            return seen
        where = f"{self.where}: {name}"
        if image.dtype != np.uint8:
            raise DataError(
                f"{where}: expected an image of bytes, which is what expand_param can put a border "
                f"around, got {image.dtype}. Remove expand_param, or write the images as bytes."
            )
        images.check_size(channels * taken.height * taken.width, where)
        fill = self._fill if len(self._fill) == channels else self._fill[:1].repeat(channels)
        painted = np.empty((taken.height, taken.width, channels), np.uint8)
        painted.reshape(taken.height, -1)[...] = np.tile(fill, taken.width)  # fast: row by row
        if seen.size:
            rows = slice(top - taken.top, bottom - taken.top)
            painted[rows, left - taken.left : right - taken.left] = seen.transpose(1, 2, 0)
        return images.planes(painted)

    def _check(self) -> None:
        param = self.param
        expand = param.expand_param
        if not 0 <= expand.prob <= 1:
            self._refuse("expand_param.prob", "0 to 1", f"{expand.prob:g}")
        if not 1 <= expand.max_expand_ratio < np.inf:
            self._refuse("expand_param.max_expand_ratio", "1 or more", expand.max_expand_ratio)
        if param.HasField("expand_param") and param.HasField("mean_file"):
            self._refuse(
                "expand_param", "it with mean_value, which the border is filled with", "mean_file"
            )
        if param.max_rotation_angle:
            self._refuse("max_rotation_angle", "0, since boxes do not turn", "another")

    def _refuse(self, what: str, expected: str, got: object) -> NoReturn:
        raise NetError(
            f"{self.where}: transform_param.{what}: expected {expected}, got {got}. Correct it."
        )


def _pixels(window: np.ndarray, height: int, width: int) -> _Rect:
    """The pixels of an image of height x width that are in a window: at least one."""
    left, top, right, bottom = window * np.array([width, height] * 2, np.float32)
    wide, high = max(1, int(right - left)), max(1, int(bottom - top))
    left, top = min(int(left), width - wide), min(int(top), height - high)
    return _Rect(top, left, high, wide)
