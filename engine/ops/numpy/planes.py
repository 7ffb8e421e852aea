"""Sliding windows over the planes of feature maps, for pooling and local normalisation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caffepy.engine.ops.geometry import PoolingGeometry
from caffepy.engine.ops.numpy.arrays import Scratch

CHUNK_BYTES = 1 << 20  # of planes: what is made of them then stays in the cache


class PlaneWindows:
    """The windows of a PoolingGeometry on chunks of planes, (planes, H, W), one plane per n and c.

    fits: no window reaches beyond the image.
    """

    def __init__(self, geometry: PoolingGeometry) -> None:
        self.geometry = geometry
        self.out_size = geometry.out_size
        self.fits = not any(geometry.pad) and all(
            extent <= size for extent, size in zip(geometry.extent, geometry.shape[2:], strict=True)
        )
        self._whole = self.fits and geometry.kernel == geometry.shape[2:]  # the plane is a window

    def chunks(self, itemsize: int) -> Iterator[slice]:
        """All planes, some at a time."""
        count, channels, height, width = self.geometry.shape
        planes = max(1, CHUNK_BYTES // max(1, height * width * itemsize))
        for start in range(0, count * channels, planes):
            yield slice(start, min(start + planes, count * channels))

    @staticmethod
    def planes(blob: np.ndarray) -> np.ndarray:
        """(N * C, rows, columns) of (N, C, rows, columns)."""
        count, channels, *plane = blob.shape
        planes: np.ndarray = blob.reshape(count * channels, *plane)
        return planes

    def starts(self, axis: int) -> np.ndarray:
        """(out,) the first row (axis 0) or column (1) of each window, counted from the padding's
        first."""
        return np.arange(self.out_size[axis]) * self.geometry.stride[axis]

    def areas(self) -> np.ndarray:
        """(out_h, out_w) how many pixels of the padded image each window has."""
        geometry = self.geometry
        heights, widths = (
            np.minimum(
                self.starts(axis) + geometry.kernel[axis],
                geometry.shape[2 + axis] + 2 * geometry.pad[axis],
            )
            - self.starts(axis)
            for axis in (0, 1)
        )
        return np.outer(heights, widths)

    def padded(self, image: np.ndarray, filling: float, scratch: Scratch) -> np.ndarray:
        """`image` with `filling` around it, as far as windows reach; itself where they fit."""
        if self.fits:
            return image
        padded = scratch.take("padded", (len(image), *self.geometry.padded_size), image.dtype)
        padded.fill(filling)
        self._interior(padded)[...] = image
        return padded

    def along(self, image: np.ndarray, axis: int, place: int) -> np.ndarray:
        """A view of what lies at `place` of each window along the rows (axis 0) or columns (1)."""
        stride = self.geometry.stride[axis]
        reach = slice(place, place + (self.out_size[axis] - 1) * stride + 1, stride)
        return image[:, reach] if axis == 0 else image[:, :, reach]

    def fold(
        self, combine: np.ufunc, padded: np.ndarray, out: np.ndarray, scratch: Scratch
    ) -> None:
        """Overwrites out, (planes, out_h, out_w), with the combined pixels of each window: rows
        first, then columns."""
        if self._whole:
            combine.reduce(padded.reshape(len(padded), -1), axis=1, out=out.reshape(-1))
            return
        shape = len(padded), self.out_size[0], padded.shape[2]
        rows = scratch.take("rows", shape, padded.dtype)
        for axis, source, target in ((0, padded, rows), (1, rows, out)):
            np.copyto(target, self.along(source, axis, 0))
            for place in range(1, self.geometry.kernel[axis]):
                combine(target, self.along(source, axis, place), out=target)

    def spread(self, gradient: np.ndarray, out: np.ndarray, scratch: Scratch) -> None:
        """Overwrites out, (planes, H, W), with the sum over the windows that hold each pixel of
        their gradients, (planes, out_h, out_w)."""
        if self._whole:
            out[...] = gradient
            return
        height, width = self.geometry.padded_size
        rows = scratch.take("rows", (len(out), self.out_size[0], width), out.dtype)
        rows.fill(0)
        for place in range(self.geometry.kernel[1]):
            target = self.along(rows, 1, place)
            target += gradient
        image = scratch.take("padded", (len(out), height, width), out.dtype)
        image.fill(0)
        for place in range(self.geometry.kernel[0]):
            target = self.along(image, 0, place)
            target += rows
        out[...] = self._interior(image)

    def _interior(self, padded: np.ndarray) -> np.ndarray:
        """The image in its padding."""
        (height, width), (pad_h, pad_w) = self.geometry.shape[2:], self.geometry.pad
        return padded[:, pad_h : pad_h + height, pad_w : pad_w + width]
