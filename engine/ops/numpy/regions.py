"""Pooling of regions on numpy: the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import numpy as np

from caffepy.engine.core.errors import LabelError
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.arrays import HostOps, ScratchOp
from caffepy.engine.ops.numpy.labels import LabelReader
from caffepy.engine.ops.numpy.pooling import LOWEST
from caffepy.engine.ops.numpy.rows import add_rows
from caffepy.engine.ops.region_geometry import PsRoiGeometry, RoiGeometry

FAR = 1e7  # pixels: corners beyond are taken for this, which no map reaches


class RegionReader(LabelReader):
    """Regions, checked: `scores.size` is the number of samples that they may name."""

    def __init__(self, scores: AxisGeometry, ignore_label: int | None, where: str) -> None:
        super().__init__(scores, ignore_label, where, "region")

    def regions(self, rois: Value) -> tuple[np.ndarray, np.ndarray]:
        """rois: (regions, 5) elements. Returns (regions,) the samples and (4, regions) the corners.

        Raises: LabelError naming the first region of no sample, or whose corners are not finite.
        """
        self.check(rois)
        rows = rois.read().reshape(-1, 5)
        return rows[:, 0].astype(np.int64), rows[:, 1:].T

    def check(self, label: Value) -> None:
        content = label, label.storage_id, label.version
        if content != self._checked:
            rows = label.read().reshape(-1, 5)
            bad = ~np.isfinite(rows)
            bad[:, 0] = ~self._good(np.trunc(rows[:, 0]))
            self._refuse_any(label, bad)
            self._checked = content

    def refuse(self, label: Value, place: int, number: float) -> NoReturn:
        row, column = divmod(place, 5)
        expected = f"a sample 0 to {self.scores.size - 1}" if not column else "a finite corner"
        raise LabelError(
            self.where,
            label,
            tuple(int(index) for index in np.unravel_index(place, label.shape)),
            f"expected {expected} in row {row}, got {number:g}. Write regions as rows of image, "
            "x1, y1, x2, y2, the image counted within the batch.",
            self.noun,
        )


Spans = list[tuple[int, int]]  # of each bin the first pixel, and the one after the last


class Bins(NamedTuple):
    """The bins of regions along one axis of the maps, (regions, pooled): the first pixel of each,
    and the one after its last."""

    first: np.ndarray
    last: np.ndarray


def rounded(numbers: np.ndarray) -> np.ndarray:
    """The nearest whole numbers, halves away from 0."""
    sizes = np.abs(numbers)
    whole = np.floor(sizes)
    whole += sizes - whole >= 0.5
    nearest: np.ndarray = np.copysign(whole, numbers)
    return nearest


def _bins(edges: np.ndarray, shift: np.ndarray | int, limit: int) -> Bins:
    """edges: (regions, pooled + 1) where bins begin and end, counted from pixel `shift` of a map of
    `limit` pixels."""
    first = np.floor(edges[:, :-1]).astype(np.int64) + shift
    last = np.ceil(edges[:, 1:]).astype(np.int64) + shift
    return Bins(first.clip(0, limit), last.clip(0, limit))


def _pixels(rows: Bins, columns: Bins) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each place in a bin, in row order: which bins have it, counted over (regions, out_h,
    out_w), and the row and the column of the map there."""
    shape = (*rows.first.shape, columns.first.shape[1])
    top, bottom = (np.broadcast_to(edge[:, :, None], shape).ravel() for edge in rows)
    left, right = (np.broadcast_to(edge[:, None], shape).ravel() for edge in columns)
    height, width = bottom - top, right - left
    for down in range(height.max(initial=0)):
        for across in range(width.max(initial=0)):
            bins = np.flatnonzero((down < height) & (across < width))
            yield bins, top[bins] + down, left[bins] + across


def _spans(bins: Bins, region: int) -> Spans:
    """The bins of one region."""
    return list(zip(bins.first[region].tolist(), bins.last[region].tolist(), strict=True))


def _first_maxima(candidates: np.ndarray, best: np.ndarray, places: np.ndarray) -> None:
    """Fills `best` with the maxima along axis 0 of the candidates, `places` with the first place of
    each."""
    np.copyto(best, candidates[0])
    places.fill(0)
    for place in range(1, len(candidates)):
        better = candidates[place] > best
        np.maximum(best, candidates[place], out=best)
        np.maximum(places, better * np.int32(place), out=places)


class RoiPooling(ScratchOp):
    """The maximum of each bin of each region, 0 in an empty bin; of equal ones the first in row
    order gets the gradient. nan is left out; a bin without a number above -FLT_MAX gives that.

    x: geometry.shape.  rois: (regions, 5) elements.  y: geometry.out_shape.
    """

    def __init__(self, ops: HostOps, geometry: RoiGeometry, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self._reader = RegionReader(geometry.naming, None, where)

    @step(reads="x rois", writes="out")
    def forward(self, x: Value, rois: Value, *, out: Value) -> None:
        """out: y. Raises: LabelError where a region is of no sample."""
        images, corners = self._reader.regions(rois)
        rows, columns = self._bins(corners)
        pixels, target = self._pixels(x), out.write()
        _, channels, *pooled = self.geometry.out_shape
        across = self.take("across", (self.geometry.shape[2], pooled[1], channels))
        best = self.take("best", (*pooled, channels))
        for region, image in enumerate(images):
            tall, wide = _spans(rows, region), _spans(columns, region)
            top, bottom = tall[0][0], tall[-1][1]
            across.fill(0)
            best.fill(0)
            for j, (left, right) in enumerate(wide):
                if left < right and top < bottom:
                    block = pixels[image, top:bottom, left:right]
                    block.max(axis=1, out=across[top:bottom, j])
            for k, (first, last) in enumerate(tall):
                if first < last:
                    across[first:last].max(axis=0, out=best[k])
            target[region] = best.transpose(2, 0, 1)

    @step(reads="dy x rois", writes="out")
    def backward(self, dy: Value, x: Value, rois: Value, *, out: Value) -> None:
        """out: gradient of x; those of regions that overlap add up."""
        images, corners = self._reader.regions(rois)
        rows, columns = self._bins(corners)
        pixels, target, gradient = self._pixels(x), out.write(), dy.read()
        target.fill(0)
        _, channels, height, width = self.geometry.shape
        planes = np.arange(channels) * (height * width)
        for region, image in enumerate(images):
            spans = _spans(rows, region), _spans(columns, region)
            places = self._find_maxima(pixels[image], *spans)
            there = places >= 0
            places += planes
            shares = gradient[region].transpose(1, 2, 0)
            np.add.at(target[image].reshape(-1), places[there], shares[there])

    def _pixels(self, x: Value) -> np.ndarray:
        """(N, H, W, C) the numbers of x."""
        samples, channels, height, width = self.geometry.shape
        pixels = self.take("pixels", (samples, height, width, channels))
        np.fmax(x.read().transpose(0, 2, 3, 1), LOWEST, out=pixels)
        return pixels

    def _find_maxima(self, image: np.ndarray, tall: Spans, wide: Spans) -> np.ndarray:
        """(out_h, out_w, C) where in its plane each maximum lies, -1: nowhere.  image: (H, W, C).

        First the maxima of each row of the bins, then those of the rows, so that the first in row
        order wins.
        """
        height, width, channels = image.shape
        places = np.full((len(tall), len(wide), channels), -1)
        top, bottom = tall[0][0], tall[-1][1]
        across = self.take("across", (height, len(wide), channels))
        columns = self.take("columns", across.shape, np.int32)
        across.fill(LOWEST)  # of bins without columns
        columns.fill(0)
        for j, (left, right) in enumerate(wide):
            if left < right and top < bottom:
                block = image[top:bottom, left:right].swapaxes(0, 1)
                _first_maxima(block, across[top:bottom, j], columns[top:bottom, j])
                columns[top:bottom, j] += left
        best = self.take("best", places.shape[1:])
        rows = self.take("rows", best.shape, np.int32)
        for k, (first, last) in enumerate(tall):
            if first < last:
                _first_maxima(across[first:last], best, rows)
                rows += first
                column = columns[rows, np.arange(len(wide))[:, None], np.arange(channels)]
                places[k] = np.where(best > LOWEST, rows * width + column, -1)
        return places

    def _bins(self, corners: np.ndarray) -> tuple[Bins, Bins]:
        """The rows and the columns of all bins."""
        scale = self.ops.dtype.type(self.geometry.spatial_scale)
        left, top, right, bottom = rounded(corners * scale).clip(-FAR, FAR)
        found = []
        for axis, (start, end) in enumerate(((top, bottom), (left, right))):
            pooled = self.geometry.pooled[axis]
            size = np.maximum(end - start + 1, 1) / self.ops.dtype.type(pooled)
            edges = np.arange(pooled + 1, dtype=self.ops.dtype) * size[:, None]
            shift = start.astype(np.int64)[:, None]
            found.append(_bins(edges, shift, self.geometry.shape[2 + axis]))
        return found[0], found[1]


class PsRoiPooling(ScratchOp):
    """The mean of each bin of each region, 0 in an empty bin; each bin has a channel of its own.

    x: geometry.shape.  rois: (regions, 5) elements.  y: geometry.out_shape.
    """

    def __init__(self, ops: HostOps, geometry: PsRoiGeometry, where: str) -> None:
        """where: the layer, for messages."""
        super().__init__(ops)
        self.geometry = geometry
        self._reader = RegionReader(geometry.naming, None, where)

    @step(reads="x rois", writes="out")
    def forward(self, x: Value, rois: Value, *, out: Value) -> None:
        """out: y. Raises: LabelError where a region is of no sample."""
        planes, outputs = self._by_bin(x.read()), self.geometry.outputs
        pixels = self.take("pixels", planes.shape)
        np.copyto(pixels, planes)
        flat = pixels.reshape(-1, outputs)
        areas, visits = self._visits(rois)
        sums = np.zeros((len(areas), outputs), self.ops.dtype)
        for bins, places in visits:
            sums[bins] += flat[places]
        sums /= np.maximum(areas, 1)[:, None]
        regions, _, *bins_of = self.geometry.out_shape
        out.write()[...] = sums.reshape(regions, *bins_of, outputs).transpose(0, 3, 1, 2)

    @step(reads="dy rois", writes="out")
    def backward(self, dy: Value, rois: Value, *, out: Value) -> None:
        """out: gradient of x; those of regions that overlap add up."""
        planes, outputs = self._by_bin(out.write()), self.geometry.outputs
        areas, visits = self._visits(rois)
        shares = dy.read().transpose(0, 2, 3, 1).reshape(-1, outputs)
        shares = shares / np.maximum(areas, 1)[:, None]
        pixels = self.take("pixels", planes.shape)
        pixels.fill(0)
        flat = pixels.reshape(-1, outputs)
        for bins, places in visits:
            add_rows(flat, places, shares[bins])
        np.copyto(planes, pixels)

    def _by_bin(self, maps: np.ndarray) -> np.ndarray:
        """A view of maps as (N, group, group, H, W, outputs)."""
        samples, _, height, width = self.geometry.shape
        group = self.geometry.group
        shape = (samples, self.geometry.outputs, group, group, height, width)
        view: np.ndarray = maps.reshape(shape).transpose(0, 2, 3, 4, 5, 1)
        return view

    def _visits(self, rois: Value) -> tuple[np.ndarray, Iterator[tuple[np.ndarray, np.ndarray]]]:
        """The pixels of each bin of each region, and, by place in a bin in row order, which bins
        have it and which row of `_by_bin`'s, seen with `outputs` columns, it is."""
        _, _, height, width = self.geometry.shape
        group = self.geometry.group
        images, corners = self._reader.regions(rois)
        rows, columns = self._bins(corners)
        sizes = (bins.last - bins.first for bins in (rows, columns))
        tall, wide = (size.clip(0) for size in sizes)
        areas = (tall[:, :, None] * wide[:, None]).ravel()
        first = np.repeat(images, group**2) * group**2 + np.tile(
            np.arange(group**2), len(images)
        )  # the plane of each bin

        def visits() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for bins, row, column in _pixels(rows, columns):
                yield bins, (first[bins] * height + row) * width + column

        return areas.astype(self.ops.dtype), visits()

    def _bins(self, corners: np.ndarray) -> tuple[Bins, Bins]:
        """The rows and the columns of all bins."""
        one, group = self.ops.dtype.type(1), self.geometry.group
        scale = self.ops.dtype.type(self.geometry.spatial_scale)
        left, top, right, bottom = rounded(corners).clip(-FAR, FAR)
        found = []
        for axis, (first, last) in enumerate(((top, bottom), (left, right))):
            start, end = first * scale, (last + one) * scale
            size = np.maximum(end - start, self.ops.dtype.type(0.1)) / self.ops.dtype.type(group)
            edges = np.arange(group + 1, dtype=self.ops.dtype) * size[:, None] + start[:, None]
            found.append(_bins(edges, 0, self.geometry.shape[2 + axis]))
        return found[0], found[1]
