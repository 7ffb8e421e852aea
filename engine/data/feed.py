"""The way of images into a net: made by data threads, brought to a top by the net's own."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

import numpy as np

from caffepy.engine.core.backend import Copied, Device, Ops
from caffepy.engine.core.value import Value
from caffepy.engine.data import images as imaging
from caffepy.engine.data.transformer import Cut, Picture, Rows, Shape, Transformer


@dataclass(eq=False)
class Pixels:
    """A batch of images of bytes, of which the device makes what the net sees.

    shape: (N, C, H, W), of that.  choices: (N, 4) int32, pinned: see the op `transform`.
    data: uint8 of that shape, pinned, not mirrored; None: the numbers in `choices` are those of
    images on the device.  copied: the end of the last copy to the device.
    """

    shape: Shape
    choices: np.ndarray
    data: np.ndarray | None
    copied: Copied | None = None


Images = np.ndarray | Pixels  # (N, C, H, W) floats as the net sees them, or bytes
ImagesT = TypeVar("ImagesT", np.ndarray, Pixels)


class Unlike(Exception):
    """Images of a batch that cannot be put together as they come; `Feed.batch` sees to them."""


class Canvas(Generic[ImagesT]):
    """A batch of `count` images that is being filled, by any number of threads."""

    def __init__(self, feed: Feed, count: int) -> None:
        self.feed: Feed = feed
        self.transformer = feed.transformer
        self.count = count
        self._images: ImagesT | None = None
        self._lock = threading.Lock()

    @property
    def images(self) -> ImagesT:
        """The batch, when all of it is filled."""
        assert self._images is not None, "layers refuse empty batches"
        return self._images

    def fill(self, pictures: Iterable[Picture], first: int, at: int, count: int) -> None:
        """Fills in `count` images from index `at` on. first: number of the batch's first image.

        Raises: DataError for an image that does not fit; Unlike.
        """
        raise NotImplementedError(f"{type(self).__name__}.fill")

    def fill_alike(
        self, images: np.ndarray, names: Callable[[int], str], first: int, at: int
    ) -> None:
        """As `fill`, with images (n, C, H, W) of bytes. names: what messages call them."""
        raise NotImplementedError(f"{type(self).__name__}.fill_alike")

    def give_up(self) -> None:
        """Its memory goes to a later batch."""
        if self._images is not None:
            self.feed.reuse(self._images)

    def _memory(self, shape: Shape, make: Callable[[Shape], ImagesT]) -> ImagesT:
        """The images, of which one has `shape`."""
        with self._lock:
            if self._images is None:
                self._images = make((self.count, *shape))
        if self._images.shape[1:] != shape:
            raise Unlike(shape)
        return self._images


class FloatCanvas(Canvas[np.ndarray]):
    """Images are transformed as they are filled in."""

    def fill(self, pictures: Iterable[Picture], first: int, at: int, count: int) -> None:
        cuts = self.transformer.cuts(pictures, first + at, count)
        self.transformer.fill(cuts, self._rows(at, count))

    def fill_alike(
        self, images: np.ndarray, names: Callable[[int], str], first: int, at: int
    ) -> None:
        self.transformer.fill_alike(images, names, first + at, self._rows(at, len(images)))

    def _rows(self, at: int, count: int) -> Rows:
        return lambda shape: self._memory(shape, self.transformer.memory)[at : at + count]


class Feed:
    """Batches that are transformed where they are made, by the data threads."""

    ahead = False  # whether `send` has something to do

    def __init__(self, transformer: Transformer) -> None:
        self.transformer = transformer

    def batch(self, pictures: Iterable[Picture], first: int, count: int) -> Images:
        """The batch of images of number `first` and up; see `Transformer.batch`."""
        return self.transformer.batch(pictures, first, count)

    def canvas(self, count: int) -> Canvas[Any]:
        """What several threads fill a batch of `count` images in."""
        return FloatCanvas(self, count)

    def send(self, images: Images) -> None:
        """Says that `deliver` is next called with this batch, as far as is known."""

    def deliver(self, images: Images, out: Value) -> None:
        """Writes a batch to `out`, of its shape. Its memory goes to a later one."""
        out.write()[...] = images
        self.reuse(images)

    def reuse(self, images: Images) -> None:
        """A later batch may take the memory of this one, which nobody looks at any more."""
        assert isinstance(images, np.ndarray), "a host gets floats"
        self.transformer.reuse(images)

    def close(self) -> None:
        """Ends what is on its way."""


class PixelCanvas(Canvas[Pixels]):
    """Images are copied as they are filled in, for a device that transforms them."""

    def __init__(self, feed: DeviceFeed, count: int) -> None:
        super().__init__(feed, count)
        self._device_feed = feed

    def fill(self, pictures: Iterable[Picture], first: int, at: int, count: int) -> None:
        planes = imaging.Planes()
        for index, cut in enumerate(self.transformer.cuts(pictures, first + at, count), at):
            if cut.image.dtype != np.uint8:
                self._device_feed.bytes_only = False
                raise Unlike(cut.image.dtype)
            pixels = self._memory(cut.image.shape, self._pinned)
            assert pixels.data is not None, "asked for"
            planes.copy(cut.image, pixels.data[index])
            pixels.choices[index] = index, *cut[1:]

    def fill_alike(
        self, images: np.ndarray, names: Callable[[int], str], first: int, at: int
    ) -> None:
        self.fill(
            ((names(index), image) for index, image in enumerate(images)), first, at, len(images)
        )

    def _pinned(self, shape: Shape) -> Pixels:
        return self._device_feed.memory(shape, whole=False)


class DeviceFeed(Feed):
    """Batches that go to a device as bytes and are transformed there, with the same numbers.

    They are copied while the batch before is computed with. Batches that are no bytes come as
    floats, the usual way.

    kept: images of bytes (M, C, H, W) on the device that `chosen` takes batches of.
    """

    ahead = True

    def __init__(self, transformer: Transformer, ops: Ops, device: Device) -> None:
        super().__init__(transformer)
        self.device = device
        self.kept: Value | None = None
        self._op = ops.transform(transformer.mean, transformer.param.scale)
        self._data = Value((0,), np.uint8)
        self._choices = Value((0, 4), np.int32)
        self.bytes_only = True  # until an image of floats comes
        self._under_way: list[Pixels] = []  # none or one: the batch in these values
        self._unused: deque[Pixels] = deque()  # batches whose memory later ones may take
        # A copy may not outlive the memory that it goes to.
        self._forgotten = weakref.finalize(self, _end, self._under_way)
        self._forgotten.atexit = False

    def batch(self, pictures: Iterable[Picture], first: int, count: int) -> Images:
        taken: list[Cut] = []
        pixels: Pixels | None = None
        cuts, planes = self.transformer.cuts(pictures, first, count), imaging.Planes()
        for index, cut in enumerate(cuts):
            if cut.image.dtype != np.uint8:
                images = self.transformer.floats(chain(taken, [cut], cuts), count)
                if pixels is not None:
                    self.reuse(pixels)
                return images
            if pixels is None:
                pixels = self.memory((count, *cut.image.shape), whole=False)
            assert pixels.data is not None, "asked for"
            planes.copy(cut.image, pixels.data[index])
            taken.append(cut._replace(image=pixels.data[index]))
        assert pixels is not None, "layers refuse empty batches"
        pixels.choices[:, 0] = np.arange(count)
        pixels.choices[:, 1:] = [cut[1:] for cut in taken]
        return pixels

    def canvas(self, count: int) -> Canvas[Any]:
        return PixelCanvas(self, count) if self.bytes_only else super().canvas(count)

    def chosen(self, numbers: np.ndarray, first: int) -> Images:
        """The batch of the images `numbers` among those that are kept, as samples of number `first`
        and up."""
        assert self.kept is not None, "images are kept first"
        image, count = self.kept.shape[1:], len(numbers)
        shape = self.transformer.shape(image, "the data set")
        pixels = self.memory((count, *shape), whole=True)
        pixels.choices[:, 0] = numbers
        pixels.choices[:, 1:] = self.transformer.choices(image, first, count)
        return pixels

    def send(self, images: Images) -> None:
        if isinstance(images, Pixels) and self._under_way != [images]:
            self._drop()
            if images.data is not None:
                self._data = self._shaped(self._data, images.data)
                self._copy(images.data, self._data)
            self._choices = self._shaped(self._choices, images.choices)
            images.copied = self._copy(images.choices, self._choices)
            self._under_way.append(images)

    def deliver(self, images: Images, out: Value) -> None:
        if not isinstance(images, Pixels):
            self._drop()
            super().deliver(images, out)
            return
        self.send(images)
        self.device.wait_for(images.copied)
        self._under_way.clear()
        pixels = self._data if images.data is not None else self.kept
        self._op.forward(pixels, self._choices, out=out)
        self.reuse(images)

    def reuse(self, images: Images) -> None:
        if isinstance(images, Pixels):
            self._unused.append(images)
        else:
            super().reuse(images)

    def close(self) -> None:
        self._forgotten()

    def _copy(self, source: np.ndarray, value: Value) -> Copied:
        return self.device.upload_ahead(source, value.write(self.device.layout))

    @staticmethod
    def _shaped(value: Value, source: np.ndarray) -> Value:
        """The value, or a new one where it has another shape than the array."""
        return value if value.shape == source.shape else Value(source.shape, source.dtype)

    def _drop(self) -> None:
        """A batch that was sent is not used."""
        for pixels in self._under_way:
            self.device.wait_for(pixels.copied)
            self.reuse(pixels)
        self._under_way.clear()

    def memory(self, shape: Shape, whole: bool) -> Pixels:
        """For a batch, content undefined. It is free when its last copy is done, which is waited
        for. whole: without `data`. Any thread may ask."""
        with contextlib.suppress(IndexError):  # there is none, or another thread took it
            while True:
                pixels = self._unused.popleft()
                _wait(pixels)
                if pixels.shape == shape and (pixels.data is None) == whole:
                    return pixels
        choices = self.device.pinned((shape[0], 4), np.dtype(np.int32))
        data = None if whole else self.device.pinned(shape, np.dtype(np.uint8))
        return Pixels(shape, choices, data)


def make_feed(transformer: Transformer, ops: Ops) -> Feed:
    """The way that the backend wants images to take."""
    device = ops.device
    return Feed(transformer) if device is None else DeviceFeed(transformer, ops, device)


def _end(under_way: list[Pixels]) -> None:
    """Waits for the copies that nobody waited for."""
    for pixels in under_way:
        _wait(pixels)
    under_way.clear()


def _wait(pixels: Pixels) -> None:
    """Until the memory of a batch is read no more."""
    if pixels.copied is not None:
        pixels.copied.milliseconds_since(pixels.copied)
        pixels.copied = None
