"""The way of images into a net: made by data threads, brought to a top by the net's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from caffepy.engine.core.backend import Copied
from caffepy.engine.core.value import Value
from caffepy.engine.data.transformer import Picture, Rows, Shape, Transformer


@dataclass(eq=False)
class Pixels:
    """A batch of images of bytes, of which what the net sees is made when it is brought there.

    shape: (N, C, H, W), of that.  choices: (N, 4) int32: see the op `transform`.
    data: uint8 of that shape, for a device pinned and not mirrored; None: the numbers in `choices`
    are those of images on the device.  copied: the end of the last copy to the device.
    """

    shape: Shape
    choices: np.ndarray
    data: np.ndarray | None
    copied: Copied | None = None

    def wait(self) -> None:
        """Until its memory is read no more."""
        if self.copied is not None:
            self.copied.milliseconds_since(self.copied)
            self.copied = None


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
        named = ((names(index), image) for index, image in enumerate(images))
        self.fill(named, first, at, len(images))

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

    def _rows(self, at: int, count: int) -> Rows:
        return lambda shape: self._memory(shape, self.transformer.memory)[at : at + count]


class Feed:
    """Batches of floats, transformed where they are made: by the data threads."""

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
