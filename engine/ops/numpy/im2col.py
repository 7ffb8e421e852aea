"""Windows of images as the columns of a matrix, so that a convolution is one matrix product."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from caffepy.engine.ops.geometry import ConvolutionGeometry, Shape

# Columns of few samples at a time stay in the cache, but runs of fewer than 8 copy slowly: then one
# sample at a time, whose runs are its rows, is faster.
COLUMN_BYTES = 4 << 20
MOST_COLUMN_BYTES = 16 << 20
RUN = 8


class Windows:
    """im2col and col2im of a convolution's input, some samples at a time.

    Samples are the innermost axis: what is copied are then long runs, also where images are small.

    samples: how many samples at a time make the cheapest columns.
    pointwise: windows are single pixels, all of them; columns are then the image itself.
    """

    def __init__(self, geometry: ConvolutionGeometry, itemsize: int) -> None:
        self.geometry = geometry
        count, self.channels = geometry.shape[:2]
        self.padded = tuple(map(max, geometry.padded, geometry.extent))
        self._interior = (  # where in padded images, (C, *padded, samples), the image lies
            slice(None),
            *(
                slice(pad, pad + size)
                for size, pad in zip(geometry.shape[2:], geometry.pad, strict=True)
            ),
        )
        self.places = math.prod(geometry.out_spatial)
        self.pointwise = math.prod(geometry.kernel) == math.prod(geometry.stride) == 1 and not any(
            geometry.pad
        )
        one = max(1, self.channels * math.prod(geometry.kernel) * self.places * itemsize)
        many = max(RUN, COLUMN_BYTES // one)
        self.samples = max(1, min(count, many)) if RUN * one <= MOST_COLUMN_BYTES else 1

    def chunks(self) -> Iterator[slice]:
        """All samples, so many at a time."""
        count = self.geometry.shape[0]
        for start in range(0, count, self.samples):
            yield slice(start, min(start + self.samples, count))

    def padded_shape(self, samples: int) -> Shape:
        """(C, *padded, samples): the scratch that `gather` and `scatter` take as `padded`."""
        return (0,) if self.pointwise else (self.channels, *self.padded, samples)

    def columns_shape(self, samples: int) -> Shape:
        """(group, C / group * kernel, out * samples)"""
        group = self.geometry.group
        rows = self.channels // group * math.prod(self.geometry.kernel)
        return (group, rows, self.places * samples)

    def gather(self, x: np.ndarray, *, padded: np.ndarray, columns: np.ndarray) -> None:
        """Fills `columns` with the windows of x: (samples, C, *spatial)."""
        image = np.moveaxis(x, 0, -1)  # (C, *spatial, samples)
        if self.pointwise:
            columns.reshape(image.shape)[...] = image
            return
        if self.padded != self.geometry.shape[2:]:
            padded.fill(0)
        padded[self._interior] = image
        self.collect(padded, columns=columns)

    def collect(self, padded: np.ndarray, *, columns: np.ndarray) -> None:
        """Fills `columns` with the windows of padded images."""
        windows = self._windows(padded)
        columns.reshape(windows.shape)[...] = windows

    def scatter(self, columns: np.ndarray, *, padded: np.ndarray, out: np.ndarray) -> None:
        """Overwrites out, (samples, C, *spatial), with the sum of the columns over each pixel."""
        image = np.moveaxis(out, 0, -1)  # (C, *spatial, samples)
        if self.pointwise:
            image[...] = columns.reshape(image.shape)
            return
        padded.fill(0)
        windows = self._windows(padded)
        columns = columns.reshape(windows.shape)
        for place in np.ndindex(self.geometry.kernel):
            at = (slice(None), *place)
            windows[at] += columns[at]
        image[...] = padded[self._interior]

    def _windows(self, padded: np.ndarray) -> np.ndarray:
        """(C, *kernel, *out, samples): a view in which pixels of several windows appear several
        times."""
        geometry = self.geometry
        over_c, *spatial, over_n = padded.strides
        shape = (self.channels, *geometry.kernel, *geometry.out_spatial, padded.shape[-1])
        kernel = (a * b for a, b in zip(spatial, geometry.dilation, strict=True))
        out = (a * b for a, b in zip(spatial, geometry.stride, strict=True))
        strides = (over_c, *kernel, *out, over_n)
        windows: np.ndarray = np.ndarray(shape, padded.dtype, buffer=padded, strides=strides)
        return windows
