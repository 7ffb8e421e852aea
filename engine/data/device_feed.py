"""Images that are brought to a device as bytes and transformed there."""

from __future__ import annotations

import weakref

import numpy as np

from caffepy.engine.core.backend import Copied, Device, Ops
from caffepy.engine.core.value import Value
from caffepy.engine.data.feed import Feed, Images, Pixels
from caffepy.engine.data.pixel_feed import PixelFeed
from caffepy.engine.data.transformer import Shape, Transformer


class DeviceFeed(PixelFeed):
    """Batches that go to a device as bytes and are transformed there, with the same numbers.

    They are copied while the batch before is computed with. Batches that are no bytes come as
    floats, the usual way.

    kept: images of bytes (M, C, H, W) on the device that `chosen` takes batches of.
    """

    ahead = True
    mirrors = False
    latest_first = False  # the copy of the oldest is done first

    def __init__(self, transformer: Transformer, ops: Ops, device: Device) -> None:
        super().__init__(transformer)
        self.device = device
        self.kept: Value | None = None
        self._op = ops.transform(transformer.mean, transformer.param.scale)
        self._data = Value((0,), np.uint8)
        self._choices = Value((0, 4), np.int32)
        self._under_way: list[Pixels] = []  # none or one: the batch in these values
        # A copy may not outlive the memory that it goes to.
        self._forgotten = weakref.finalize(self, _end, self._under_way)
        self._forgotten.atexit = False

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

    def close(self) -> None:
        self._forgotten()

    def new_memory(self, shape: Shape, dtype: np.dtype) -> np.ndarray:
        return self.device.pinned(shape, dtype)

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


def make_feed(transformer: Transformer, ops: Ops) -> Feed:
    """The way that the backend wants images to take."""
    device = ops.device
    return PixelFeed(transformer) if device is None else DeviceFeed(transformer, ops, device)


def _end(under_way: list[Pixels]) -> None:
    """Waits for the copies that nobody waited for."""
    for pixels in under_way:
        pixels.wait()
    under_way.clear()
