"""Batches of transformed images of a list of files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from caffepy.engine.core.errors import DataError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import images
from caffepy.engine.data.feed import Feed, Images
from caffepy.engine.data.image_list import ImageList
from caffepy.engine.data.pipeline import Batch, Part, Work, done
from caffepy.engine.data.transformer import Picture

TOGETHER = 4  # images that one thread reads at a time


class ImageSource:
    """Makes batches of the images of a list, which follow each other round and round.

    root: what stands before every name of the list.  size: (height, width) to resize to, None to
    leave images as they are.  color: whether to decode to 3 channels or to 1.
    skip: how many images stand before sample number 0.  order: the random numbers of a new order in
    every epoch, None for the list's own.
    find_file: from (name, where it is named) to a path; raises DataError.
    """

    def __init__(
        self,
        listed: ImageList,
        feed: Feed,
        find_file: Callable[[str, str], Path],
        *,
        root: str = "",
        size: tuple[int, int] | None = None,
        color: bool = True,
        skip: int = 0,
        order: Stream | None = None,
    ) -> None:
        self.listed = listed
        self.feed = feed
        self.transformer = feed.transformer
        self.find_file = find_file
        self.root = root
        self.size = size
        self.color = color
        self.skip = skip
        self.order = order
        self._epoch = -1
        self._permutation = np.empty(0, np.int64)  # of that epoch

    def first_shape(self) -> tuple[int, ...]:
        """The transformed shape (C, H, W) of sample number 0. Raises: DataError."""
        (index,) = self._indices(0, 1)
        return self.transformer.shape(self.image(index).shape, self.name(index))

    def begin(self, first: int, count: int) -> Work[Batch]:
        """The work on samples number `first` to `first + count - 1`."""
        return ImageWork(self, first, self._indices(first, count))

    def batch(self, first: int, count: int) -> Batch:
        """Samples number `first` to `first + count - 1`.

        Raises: DataError for an image that cannot be read or does not fit, naming file and line.
        """
        return done(self.begin(first, count))

    def pictures(self, indices: Sequence[int]) -> Iterator[Picture]:
        """The images of these places in the list. Raises: DataError."""
        return ((self.name(index), self.image(index)) for index in indices)

    def close(self) -> None:
        """Nothing is open between batches."""

    def _indices(self, first: int, count: int) -> list[int]:
        """The places in the list of samples number `first` and up."""
        epochs, indices = np.divmod(np.arange(count) + (first + self.skip), len(self.listed))
        if self.order is not None:
            for epoch in np.unique(epochs).tolist():
                if epoch != self._epoch:
                    self._permutation = self.order.permutation(epoch, len(self.listed))
                    self._epoch = epoch
                here = epochs == epoch
                indices[here] = self._permutation[indices[here]]
        listed: list[int] = indices.tolist()
        return listed

    def image(self, index: int) -> np.ndarray:
        """(C, H, W) uint8, resized. Raises: DataError."""
        name, line = self.root + self.listed.name(index), self._line(index)
        try:
            path = self.find_file(name, line)
        except DataError as error:
            hint = " File names take / and not \\ here." if "\\" in name else ""
            raise DataError(f"{error}{hint}") from None
        where = f"{self.transformer.where}: {line}: '{path}'"
        image = images.decode(images.read(path, where), where, self.color)
        if self.size is not None:
            image = images.resize(image, *self.size, where)
        return images.planes(image)

    def name(self, index: int) -> str:
        """What messages call an image."""
        return f"'{self.root + self.listed.name(index)}', {self._line(index)}"

    def _line(self, index: int) -> str:
        return f"line {self.listed.line(index)} of '{self.listed.path}'"


class ImageWork:
    """The work on a batch of images. indices: their places in the list.  first: the number of the
    first one."""

    def __init__(self, source: ImageSource, first: int, indices: list[int]) -> None:
        self.source = source
        self.first = first
        self.indices = indices
        self.canvas = source.feed.canvas(len(indices))
        self._read = 0

    def read(self) -> Part | None:
        """Files are read by the threads that decode them."""
        at = self._read
        if at == len(self.indices):
            return None
        part = self.indices[at : at + TOGETHER]
        self._read += len(part)
        pictures = self.source.pictures(part)
        return functools.partial(self.canvas.fill, pictures, self.first, at, len(part))

    def finish(self) -> Batch:
        return self._batch(self.canvas.images)

    def again(self) -> Batch:
        self.canvas.give_up()
        pictures = self.source.pictures(self.indices)
        return self._batch(self.source.feed.batch(pictures, self.first, len(self.indices)))

    def _batch(self, images: Images) -> Batch:
        source = self.source
        labels = source.listed.labels[self.indices].astype(source.transformer.dtype)
        return Batch(images, labels, [source.name(index) for index in self.indices])
