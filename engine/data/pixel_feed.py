"""Images that wait as bytes, a quarter of the memory of floats, until a net takes them and they are
transformed."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, ClassVar

import numpy as np

from caffepy.engine.core.value import Value
from caffepy.engine.data.feed import Canvas, Feed, Images, Pixels, Unlike
from caffepy.engine.data.images import Planes
from caffepy.engine.data.transformer import Cut, Picture, Shape, Transformer


class PixelCanvas(Canvas[Pixels]):
    """Images are cropped, and mirrored where the feed does so, as they are filled in."""

    def __init__(self, feed: PixelFeed, count: int) -> None:
        super().__init__(feed, count)
        self._pixel_feed = feed

    def fill(self, pictures: Iterable[Picture], first: int, at: int, count: int) -> None:
        planes, feed = Planes(), self._pixel_feed
        for index, cut in enumerate(self.transformer.cuts(pictures, first + at, count), at):
            if cut.image.dtype != np.uint8:
                feed.bytes_only = False
                raise Unlike(cut.image.dtype)
            feed.copy(cut, self._memory(cut.image.shape, feed.memory), index, planes)

    def fill_alike(
        self, images: np.ndarray, names: Callable[[int], str], first: int, at: int
    ) -> None:
        if self.transformer.changes_each:
            super().fill_alike(images, names, first, at)
            return
        _, height, width = shape = self.transformer.shape(images.shape[1:], names(0))
        top, left, _ = choice = self.transformer.choices(images.shape[1:], first + at, 1)
        pixels, end = self._memory(shape, self._pixel_feed.memory), at + len(images)
        assert pixels.data is not None, "asked for"
        pixels.data[at:end] = images[:, :, top : top + height, left : left + width]
        pixels.choices[at:end, 0] = np.arange(at, end)
        pixels.choices[at:end, 1:] = choice


class PixelFeed(Feed):
    """Batches of images of bytes wait as bytes, and others as floats."""

    mirrors: ClassVar[bool] = True  # whether images are mirrored as they are copied
    latest_first: ClassVar[bool] = True  # which memory is used again: what the cache may still hold

    def __init__(self, transformer: Transformer) -> None:
        super().__init__(transformer)
        self.bytes_only = True  # until an image of floats comes
        self._unused: deque[Pixels] = deque()  # batches whose memory later ones may take

    def batch(self, pictures: Iterable[Picture], first: int, count: int) -> Images:
        cuts, planes = self.transformer.cuts(pictures, first, count), Planes()
        taken: list[Cut] = []
        pixels: Pixels | None = None
        for index, cut in enumerate(cuts):
            if cut.image.dtype != np.uint8:
                images = self.transformer.floats(chain(taken, [cut], cuts), count)
                if pixels is not None:
                    self.reuse(pixels)
                return images
            if pixels is None:
                pixels = self.memory((count, *cut.image.shape))
            image = self.copy(cut, pixels, index, planes)
            if self.mirrors and cut.mirrored:  # as it came, should floats follow
                image = image[:, :, ::-1]
            taken.append(cut._replace(image=image))
        assert pixels is not None, "layers refuse empty batches"
        return pixels

    def canvas(self, count: int) -> Canvas[Any]:
        return PixelCanvas(self, count) if self.bytes_only else super().canvas(count)

    def copy(self, cut: Cut, pixels: Pixels, index: int, planes: Planes) -> np.ndarray:
        """Makes what was taken of an image number `index` of a batch, and gives it, (C, H, W)."""
        assert pixels.data is not None, "asked for"
        image: np.ndarray = pixels.data[index]
        planes.copy(cut.image, image, self.mirrors and cut.mirrored)
        pixels.choices[index] = index, *cut[1:]
        return image

    def deliver(self, images: Images, out: Value) -> None:
        if isinstance(images, Pixels):
            assert images.data is not None, "on the host"
            self.transformer.finish(images.data, images.choices[:, 1:].tolist(), out.write())
            self.reuse(images)
        else:
            super().deliver(images, out)

    def reuse(self, images: Images) -> None:
        if isinstance(images, Pixels):
            self._unused.append(images)
        else:
            super().reuse(images)

    def memory(self, shape: Shape, whole: bool = False) -> Pixels:
        """For a batch, content undefined. It is free when its last copy is done, which is waited
        for. whole: without `data`. Any thread may ask."""
        take = self._unused.pop if self.latest_first else self._unused.popleft
        with contextlib.suppress(IndexError):  # there is none, or another thread took it
            while True:
                pixels = take()
                pixels.wait()
                if pixels.shape == shape and (pixels.data is None) == whole:
                    return pixels
        choices = self.new_memory((shape[0], 4), np.dtype(np.int32))
        data = None if whole else self.new_memory(shape, np.dtype(np.uint8))
        return Pixels(shape, choices, data)

    def new_memory(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        """An array that batches are made in."""
        return np.empty(shape, dtype)
