"""Batches of windows cut out of images and warped to one size."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import images
from caffepy.engine.data.pipeline import Batch, Part, Work, done
from caffepy.engine.data.transformer import Transformer
from caffepy.engine.data.window_list import CHANNELS, WindowList

TOGETHER = 4  # windows that one thread makes at a time

Chosen = tuple[list[int], bool]  # a window of the file, and whether it is mirrored


class Region(NamedTuple):
    """What is taken of an image, x1 to x2 and y1 to y2, both inside; the height and width that it
    is warped to; and the pixels above, to the left and to the right of that which stay 0."""

    x1: int
    y1: int
    x2: int
    y2: int
    height: int
    width: int
    above: int
    left: int
    right: int


class WindowSource:
    """Makes batches of windows: first those of the background, then `foreground` of them each.

    transformer: gives crop size, mean and mirroring.  choices: the random numbers.  scale: factor
    after the mean is subtracted.  foreground: number of foreground windows in a batch.
    context_pad: pixels of a warped window around what the file names.  square: the window is made
    square first.  root: what stands before every name.  cache: keep the files in memory from the
    start.  find_file: from (name, where it is named) to a path; raises DataError.

    Raises: DataError where the mean does not fit, or a file that is to be kept cannot be read.
    """

    def __init__(
        self,
        listed: WindowList,
        transformer: Transformer,
        choices: Stream,
        find_file: Callable[[str, str], Path],
        *,
        scale: float,
        foreground: int,
        context_pad: int,
        square: bool,
        root: str = "",
        cache: bool = False,
    ) -> None:
        self.listed = listed
        self.transformer = transformer
        self.choices = choices
        self.find_file = find_file
        self.scale = scale
        self.foreground = foreground
        self.context_pad = context_pad
        self.square = square
        self.root = root
        self._size = transformer.crop[0]
        self._mean = self._cut_mean()
        self._kept = [self._read(index) for index in range(len(listed.names))] if cache else None

    def begin(self, first: int, count: int) -> Work[Batch]:
        """The work on samples number `first` to `first + count - 1`; which windows they are is a
        function of their numbers."""
        chosen = list[Chosen]()
        for index, (draw, side, *_) in enumerate(self.choices.uniform_blocks(first, count)):
            front = index >= count - self.foreground
            windows = self.listed.foreground if front else self.listed.background
            window = windows[int(draw * len(windows))].tolist()
            chosen.append((window, bool(self.transformer.param.mirror and side >= 0.5)))
        return WindowWork(self, chosen)

    def batch(self, first: int, count: int) -> Batch:
        """Samples number `first` to `first + count - 1`.

        Raises: DataError for an image that cannot be read, or a window that is not in it.
        """
        return done(self.begin(first, count))

    def memory(self, count: int) -> np.ndarray:
        """(count, C, size, size), content undefined."""
        return self.transformer.memory((count, CHANNELS, self._size, self._size))

    def close(self) -> None:
        """Nothing is open between batches."""

    def warp(self, out: np.ndarray, window: list[int], mirrored: bool) -> None:
        """Writes a window to out (C, size, size). Raises: DataError."""
        out[...] = 0
        where = f"{self.transformer.where}: {self.name(window)}"
        data = self._read(window[0]) if self._kept is None else self._kept[window[0]]
        image = images.decode(data, where, color=True)
        region = self._region(window, image.shape)
        x1, y1, x2, y2, *_ = region
        if not (0 <= x1 <= x2 < image.shape[1] and 0 <= y1 <= y2 < image.shape[0]):
            raise DataError(
                f"{where}: expected a window in an image of {image.shape[1]} x {image.shape[0]} "
                f"pixels, got x1, y1, x2, y2 = {', '.join(map(str, window[2:6]))}. Correct the "
                "window file."
            )
        above, left = region.above, region.right if mirrored else region.left
        height, width = min(region.height, self._size - above), min(region.width, self._size - left)
        if height < 1 or width < 1:
            return  # so little of it is in the image that nothing is left of that
        warped = images.resize(image[y1 : y2 + 1, x1 : x2 + 1], height, width, where)
        if mirrored:
            warped = warped[:, ::-1]
        target = out[:, above : above + height, left : left + width]
        target[...] = images.planes(warped)
        if self._mean is not None:
            target -= self._mean[:, above:, left:][:, :height, :width]
        target *= self.transformer.dtype.type(self.scale)

    def _cut_mean(self) -> np.ndarray | None:
        """(C, size, size) or (1, size, size), a view: the middle of the mean, or its values."""
        mean, param, size = self.transformer.mean, self.transformer.param, self._size
        if mean is None:
            return None
        where = f"{self.transformer.where}: transform_param"
        if param.mean_value:
            if len(mean) not in (1, CHANNELS):
                raise DataError(
                    f"{where}.mean_value: expected 1 or {CHANNELS}, one for each channel, got "
                    f"{len(mean)}. Correct their number."
                )
            return np.broadcast_to(mean, (len(mean), size, size))
        offset = (mean.shape[2] - size) // 2
        cut = mean[:, max(offset, 0) :, max(offset, 0) :][:, :size, :size]
        if cut.shape != (CHANNELS, size, size):
            raise DataError(
                f"{where}.mean_file: expected a mean of {CHANNELS} channels and at least {size} x "
                f"{size} pixels, the crop_size, got {mean.shape}. Compute one of images of that "
                "size, or give mean_value."
            )
        return cut

    def _region(self, window: list[int], image: tuple[int, ...]) -> Region:
        """Where a window lies, with its context; image: (height, width, channels)."""
        _, _, x1, y1, x2, y2, _ = window
        size = self._size
        if not self.context_pad and not self.square:
            return Region(x1, y1, x2, y2, size, size, 0, 0, 0)
        single = np.float32  # as Caffe computes
        enlarged = single(size) / single(size - 2 * self.context_pad)
        half_height, half_width = single(y2 - y1 + 1) / 2, single(x2 - x1 + 1) / 2
        centre_x, centre_y = x1 + half_width, y1 + half_height
        if self.square:
            half_height = half_width = max(half_height, half_width)
        x1, x2 = (_round(centre_x + sign * half_width * enlarged) for sign in (-1, 1))
        y1, y2 = (_round(centre_y + sign * half_height * enlarged) for sign in (-1, 1))
        scale_x, scale_y = single(size) / single(x2 - x1 + 1), single(size) / single(y2 - y1 + 1)
        # what lies outside of the image
        left, above = max(0, -x1), max(0, -y1)
        right, below = max(0, x2 - image[1] + 1), max(0, y2 - image[0] + 1)
        x1, y1, x2, y2 = x1 + left, y1 + above, x2 - right, y2 - below
        width, height = _round((x2 - x1 + 1) * scale_x), _round((y2 - y1 + 1) * scale_y)
        left, right = _round(left * scale_x), _round(right * scale_x)
        above = _round(above * scale_y)
        return Region(x1, y1, x2, y2, height, width, above, left, right)

    def _read(self, index: int) -> bytes:
        """The file of an image."""
        name = self.root + self.listed.names[index]
        path = self.find_file(name, f"image {index} of '{self.listed.path}'")
        return images.read(path, f"{self.transformer.where}: '{path}'")

    def name(self, window: list[int]) -> str:
        """What messages call a window."""
        name = self.root + self.listed.names[window[0]]
        return f"'{name}', line {window[6]} of '{self.listed.path}'"


class WindowWork:
    """The work on a batch of windows."""

    def __init__(self, source: WindowSource, chosen: list[Chosen]) -> None:
        self.source = source
        self.chosen = chosen
        self.images = source.memory(len(chosen))
        self._read = 0

    def read(self) -> Part | None:
        """Files are read by the threads that decode them."""
        at, end = self._read, min(self._read + TOGETHER, len(self.chosen))
        if at == end:
            return None
        self._read = end
        return functools.partial(self._make, range(at, end))

    def finish(self) -> Batch:
        dtype = self.source.transformer.dtype
        labels = np.array([window[1] for window, _ in self.chosen], dtype)
        return Batch(self.images, labels, [self.source.name(window) for window, _ in self.chosen])

    def again(self) -> Batch:
        self._make(range(len(self.chosen)))
        return self.finish()

    def _make(self, part: range) -> None:
        for index in part:
            self.source.warp(self.images[index], *self.chosen[index])


def _round(number: float) -> int:
    """To the nearest whole number, halves away from 0."""
    return int(math.copysign(math.floor(abs(float(number)) + 0.5), number))
