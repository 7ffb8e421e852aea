"""Pooling on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.random import Counter, Stream
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import PoolingGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp
from caffepy.engine.ops.numpy.planes import PlaneWindows

LOWEST = np.finfo(np.float32).min  # what Caffe's maximum starts from, in double precision too


class Pooling(ScratchOp):
    """The maximum or the mean of each window; geometry.method is "MAX" or "AVE".

    x: geometry.shape.  y: geometry.out_shape. MAX leaves padding and nan out, and its first maximum
    in row order wins; a window without a number above -FLT_MAX gives that. AVE counts padding as
    zeros, and divides by the window's part inside the padded image.
    """

    def __init__(self, ops: Ops, geometry: PoolingGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._windows = PlaneWindows(geometry)
        self._areas = self._windows.areas().astype(ops.dtype)

    @step(reads="x", writes="out mask")
    def forward(self, x: Value, *, out: Value, mask: Value | None = None) -> None:
        """out: y. mask: like y, for MAX only: where in its plane, row * W + column, each maximum
        lies."""
        windows = self._windows
        source, target = windows.planes(x.read()), windows.planes(out.write())
        places = None if mask is None else windows.planes(mask.write())
        scratch = self.ops.scratch
        for chunk in windows.chunks(source.itemsize):
            if self.geometry.method == "AVE":
                padded = windows.padded(source[chunk], 0, scratch)
                windows.fold(np.add, padded, target[chunk], scratch)
                target[chunk] /= self._areas
            elif places is None:
                padded = windows.padded(source[chunk], -np.inf, scratch)
                windows.fold(np.fmax, padded, target[chunk], scratch)
                np.fmax(target[chunk], LOWEST, out=target[chunk])
            else:
                places[chunk] = self._find_maxima(source[chunk], target[chunk])

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x."""
        windows = self._windows
        gradient, target = windows.planes(dy.read()), windows.planes(out.write())
        source = windows.planes(x.read())
        for chunk in windows.chunks(source.itemsize):
            if self.geometry.method == "AVE":
                shares = self.take("shares", gradient[chunk].shape)
                np.divide(gradient[chunk], self._areas, out=shares)
                windows.spread(shares, target[chunk], self.ops.scratch)
            else:
                maxima = self.take("maxima", gradient[chunk].shape)
                places = self._find_maxima(source[chunk], maxima)
                places = places + np.arange(len(places)).reshape(-1, 1, 1) * target[0].size
                target[chunk] = 0
                np.add.at(
                    target[chunk].reshape(-1), places.reshape(-1), gradient[chunk].reshape(-1)
                )

    def _find_maxima(self, image: np.ndarray, maxima: np.ndarray) -> np.ndarray:
        """Fills `maxima`, (planes, out_h, out_w); returns where in its plane each first one lies.

        First the maxima of each row's windows, then those of the windows' rows: so the topmost row
        wins, and in it the leftmost column. Padding, being below LOWEST, never does.
        """
        windows, (pad_h, pad_w) = self._windows, self.geometry.pad
        numbers = np.fmax(image, LOWEST, out=self.take("numbers", image.shape))
        padded = windows.padded(numbers, -np.inf, self.ops.scratch)
        best = self.take("best", (*padded.shape[:2], maxima.shape[2]))
        columns = self._first_along(1, padded, best)
        rows = self._first_along(0, best, maxima)
        chosen = np.zeros_like(rows, columns.dtype)
        for place in range(self.geometry.kernel[0]):  # masked copies are ten times slower
            chosen += (rows == place) * windows.along(columns, 0, place)
        width = np.int32(image.shape[2])
        corners = np.add.outer((windows.starts(0) - pad_h) * width, windows.starts(1) - pad_w)
        places: np.ndarray = rows * width
        places += chosen
        places += corners.astype(np.int32)
        return places

    def _first_along(self, axis: int, image: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Fills `best` with the maxima along an axis of windows; returns the first place of
        each."""
        kernel = self.geometry.kernel[axis]
        places = np.zeros(best.shape, np.min_scalar_type(kernel))
        np.copyto(best, self._windows.along(image, axis, 0))
        for place in range(1, kernel):
            candidates = self._windows.along(image, axis, place)
            better = candidates > best
            np.maximum(best, candidates, out=best)
            np.maximum(places, better.view(np.uint8) * places.dtype.type(place), out=places)
        return places


class StochasticPooling(ScratchOp):
    """One element of each window, drawn with a probability proportional to it; or the mean weighted
    by these probabilities.

    x: geometry.shape, not negative.  y: geometry.out_shape. Element i of a window in row order is
    drawn where its cumulated sum is the first to reach u times the window's sum; u in (0, 1] is
    made of the 32-bit half at the window's place in `stream` at `passes`. A window of zeros gives
    its first element.
    """

    def __init__(
        self, ops: Ops, geometry: PoolingGeometry, stream: Stream, passes: Counter
    ) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self.stream = stream
        self.passes = passes
        self._drawn_at = 0  # the position of the last forward pass
        self._windows = PlaneWindows(geometry)

    @step(reads="x", writes="out")
    def forward_train(self, x: Value, *, out: Value) -> None:
        """out: y, drawn."""
        self._drawn_at = self.passes.value
        windows = self._windows
        source, target = windows.planes(x.read()), windows.planes(out.write())
        shares, scratch = self._shares(target.shape), self.ops.scratch
        for chunk in windows.chunks(source.itemsize):
            padded = windows.padded(source[chunk], 0, scratch)
            drawn = self._draw(padded, shares[chunk])
            target[chunk] = 0
            for place, element in enumerate(self._elements(padded)):
                target[chunk] += (drawn == place) * element

    @step(reads="x", writes="out")
    def forward_test(self, x: Value, *, out: Value) -> None:
        """out: sum of squares over sum of each window; 0 where the sum is not positive."""
        windows = self._windows
        source, target = windows.planes(x.read()), windows.planes(out.write())
        scratch = self.ops.scratch
        for chunk in windows.chunks(source.itemsize):
            padded = windows.padded(source[chunk], 0, scratch)
            total = np.empty_like(target[chunk])
            windows.fold(np.add, padded, total, scratch)
            windows.fold(np.add, padded * padded, target[chunk], scratch)
            target[chunk] *= total > 0
            total[total <= 0] = 1
            target[chunk] /= total

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, through what the last forward_train drew."""
        windows = self._windows
        gradient, target = windows.planes(dy.read()), windows.planes(out.write())
        source = windows.planes(x.read())
        shares, scratch = self._shares(gradient.shape), self.ops.scratch
        height, width = source.shape[1:]
        for chunk in windows.chunks(source.itemsize):
            padded = windows.padded(source[chunk], 0, scratch)
            drawn = self._draw(padded, shares[chunk])
            spread = np.zeros_like(padded)
            for place, element in enumerate(self._elements(spread)):
                element[...] += (drawn == place) * gradient[chunk]
            target[chunk] = spread[:, :height, :width]

    def _elements(self, padded: np.ndarray) -> list[np.ndarray]:
        """Views of the elements of all windows, by their place in row order."""
        return [
            self._windows.along(self._windows.along(padded, 0, row), 1, column)
            for row, column in np.ndindex(self.geometry.kernel)
        ]

    def _shares(self, shape: tuple[int, ...]) -> np.ndarray:
        """What part of its sum each window must reach, in (0, 1]."""
        halves = self.stream.halves(self._drawn_at, int(np.prod(shape)))
        return ((halves + 1.0) * 2.0**-32).astype(self.ops.dtype).reshape(shape)

    def _draw(self, padded: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """The place of the element that is drawn in each window."""
        elements = self._elements(padded)
        reach = sum(elements[1:], elements[0].copy()) * shares
        drawn = np.zeros(shares.shape, np.intp)
        total = np.zeros_like(shares)
        for element in elements:
            total += element
            drawn += total < reach
        return drawn
