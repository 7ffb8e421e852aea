"""Geometries: the shape arithmetic of ops, in Caffe's rules, without any data.

A layer builds a geometry from its parameters and bottom shapes and hands it to a backend. All
shapes are tuples of ints; N samples, C channels, then spatial axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ConvolutionGeometry:
    """Convolution over any number of spatial axes (0 included).

    shape: (N, C, *spatial) of the input. kernel, stride, pad, dilation: one int per spatial axis;
    a stride beyond padded images and kernel becomes theirs, which is the same.
    """

    shape: Shape
    num_output: int
    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape
    group: int = 1

    def __post_init__(self) -> None:
        # a single window takes no step: ops have no need to make room for a huge one
        most = (max(sizes) for sizes in zip(self.padded, self.extent, strict=True))
        stride = tuple(min(pair) for pair in zip(self.stride, most, strict=True))
        object.__setattr__(self, "stride", stride)

    @property
    def extent(self) -> Shape:
        """The pixels from a window's first to its last, along each spatial axis."""
        return tuple(
            dilation * (kernel - 1) + 1
            for kernel, dilation in zip(self.kernel, self.dilation, strict=True)
        )

    @property
    def padded(self) -> Shape:
        """The spatial sizes with the padding."""
        return tuple(size + 2 * pad for size, pad in zip(self.shape[2:], self.pad, strict=True))

    @property
    def out_spatial(self) -> Shape:
        """(padded - extent) / stride + 1 along each spatial axis; the quotient is rounded towards
        0, so that a window which lacks less than a stride of pixels still counts."""
        return tuple(
            math.trunc((padded - extent) / stride) + 1
            for padded, extent, stride in zip(self.padded, self.extent, self.stride, strict=True)
        )

    @property
    def fits(self) -> bool:
        """Whether no window reaches beyond the padded images."""
        return all(
            extent <= padded for extent, padded in zip(self.extent, self.padded, strict=True)
        )

    @property
    def out_shape(self) -> Shape:
        """(N, num_output, *out_spatial)"""
        return (self.shape[0], self.num_output, *self.out_spatial)

    @property
    def weight_shape(self) -> Shape:
        """(num_output, C / group, *kernel)"""
        return (self.num_output, self.shape[1] // self.group, *self.kernel)

    @property
    def multiply_adds(self) -> int:
        """Products of a pixel with a weight, those with padding included."""
        return self.shape[0] * math.prod(self.out_spatial) * math.prod(self.weight_shape)


@dataclass(frozen=True)
class PoolingGeometry:
    """Pooling over H and W.

    shape: (N, C, H, W). method: "MAX", "AVE" or "STOCHASTIC". kernel, stride, pad: (h, w).
    ceil: round output sizes up (Caffe's default), else down.
    """

    shape: Shape
    method: str
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    ceil: bool = True

    @property
    def out_size(self) -> tuple[int, int]:
        """(out_h, out_w). With padding on either axis, a last window that would start beyond the
        image and its leading padding is dropped."""
        sizes = []
        for size, kernel, stride, pad in zip(
            self.shape[2:], self.kernel, self.stride, self.pad, strict=True
        ):
            steps = (size + 2 * pad - kernel) / stride
            out = (math.ceil(steps) if self.ceil else math.floor(steps)) + 1
            if any(self.pad) and (out - 1) * stride >= size + pad:
                out -= 1
            sizes.append(out)
        return sizes[0], sizes[1]

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns that the windows reach over, leading padding included."""
        height, width = (
            (out - 1) * stride + kernel
            for out, stride, kernel in zip(self.out_size, self.stride, self.kernel, strict=True)
        )
        return height, width

    @property
    def padded_size(self) -> tuple[int, int]:
        """Rows and columns of image and padding; trailing padding only as far as windows reach."""
        height, width = (
            max(extent, pad + size)
            for extent, pad, size in zip(self.extent, self.pad, self.shape[2:], strict=True)
        )
        return height, width

    @property
    def out_shape(self) -> Shape:
        """(N, C, out_h, out_w)"""
        return (*self.shape[:2], *self.out_size)


@dataclass(frozen=True)
class InnerProductGeometry:
    """(rows, inputs) x weights -> (rows, outputs); weights (outputs, inputs), or (inputs, outputs)
    when transposed."""

    rows: int
    inputs: int
    outputs: int
    transpose: bool = False

    @property
    def weight_shape(self) -> Shape:
        return (self.inputs, self.outputs) if self.transpose else (self.outputs, self.inputs)

    @property
    def multiply_adds(self) -> int:
        return self.rows * self.inputs * self.outputs


@dataclass(frozen=True)
class LrnGeometry:
    """Local response normalisation of (N, C, H, W) over `size` channels or a size x size window."""

    shape: Shape
    size: int
    alpha: float
    beta: float
    k: float
    within_channel: bool


@dataclass(frozen=True)
class AxisGeometry:
    """A blob seen as (outer, size, inner) around one axis or a run of axes."""

    outer: int
    size: int
    inner: int

    @staticmethod
    def around(shape: Shape, axis: int, num_axes: int = 1) -> AxisGeometry:
        """Axes before `axis`, the `num_axes` from it on, and those after."""
        end = axis + num_axes
        return AxisGeometry(
            math.prod(shape[:axis]), math.prod(shape[axis:end]), math.prod(shape[end:])
        )

    @property
    def shape(self) -> Shape:
        return (self.outer, self.size, self.inner)


@dataclass(frozen=True)
class ConcatGeometry:
    """Blobs of these shapes side by side along an axis; the shapes differ there only."""

    shapes: tuple[Shape, ...]
    axis: int

    @property
    def out_shape(self) -> Shape:
        first = self.shapes[0]
        size = sum(shape[self.axis] for shape in self.shapes)
        return (*first[: self.axis], size, *first[self.axis + 1 :])

    def in_part(self, place: int) -> tuple[int, int]:
        """For an element of the whole: its part, and its place there. Places count in C order."""
        inner = math.prod(self.out_shape[self.axis + 1 :])
        outer, along = divmod(place // inner, self.out_shape[self.axis])
        part = 0
        while along >= self.shapes[part][self.axis]:
            along -= self.shapes[part][self.axis]
            part += 1
        return part, (outer * self.shapes[part][self.axis] + along) * inner + place % inner

    def in_whole(self, part: int, place: int) -> int:
        """For an element of a part: its place in the whole."""
        inner = math.prod(self.out_shape[self.axis + 1 :])
        outer, along = divmod(place // inner, self.shapes[part][self.axis])
        along += sum(shape[self.axis] for shape in self.shapes[:part])
        return (outer * self.out_shape[self.axis] + along) * inner + place % inner


@dataclass(frozen=True)
class TransposeGeometry:
    """The axes of `shape` in another order: axis i of the result is axis order[i]."""

    shape: Shape
    order: Shape

    @property
    def out_shape(self) -> Shape:
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def inverse(self) -> TransposeGeometry:
        """The way back."""
        return TransposeGeometry(
            self.out_shape, tuple(map(self.order.index, range(len(self.order))))
        )

    @property
    def joined(self) -> TransposeGeometry:
        """The same with as few axes as possible: those that stay together are one, and there are
        none of size 1."""
        longer = [axis for axis, size in enumerate(self.shape) if size != 1]
        runs: list[list[int]] = []
        for axis in filter(longer.__contains__, self.order):
            if runs and longer.index(axis) == longer.index(runs[-1][-1]) + 1:
                runs[-1].append(axis)
            else:
                runs.append([axis])
        places = sorted(runs)
        shape = tuple(math.prod(self.shape[axis] for axis in run) for run in places)
        return TransposeGeometry(shape, tuple(map(places.index, runs)))

    def source_of(self, place: int) -> int:
        """The place in x of an element of the result. Places count in C order."""
        index = [0] * len(self.shape)
        for axis in reversed(self.order):
            place, index[axis] = divmod(place, self.shape[axis])
        found = 0
        for size, along in zip(self.shape, index, strict=True):
            found = found * size + along
        return found


@dataclass(frozen=True)
class PriorBoxGeometry:
    """Boxes of the same sizes around the cells of a feature map.

    map_size: (h, w), in cells.  image_size: (h, w), in pixels.  step: (h, w), pixels from a cell to
    the next.  offset: of the middle of the first one, in cells.  boxes: (h, w) of each in pixels.
    variances: 4 numbers, given with each box.  clip: whether boxes are cut at the image's edges.
    """

    map_size: tuple[int, int]
    image_size: tuple[int, int]
    step: tuple[float, float]
    offset: float
    boxes: tuple[tuple[float, float], ...]
    variances: tuple[float, ...]
    clip: bool

    @property
    def out_shape(self) -> Shape:
        """(1, 2, numbers): four of each box, and its variances."""
        return (1, 2, math.prod(self.map_size) * len(self.boxes) * 4)


@dataclass(frozen=True)
class InterpGeometry:
    """Planes in another size, with their corners where they were.

    planes: how many.  size: (h, w) of each.  start: (h, w) of the first pixel that counts.  read:
    (h, w) how many do.  out: (h, w) of the result.
    """

    planes: int
    size: tuple[int, int]
    start: tuple[int, int]
    read: tuple[int, int]
    out: tuple[int, int]

    def position(self, axis: int, place: int) -> tuple[int, int, int]:
        """Between which pixels, from `start`, row (axis 0) or column (1) `place` of the result
        lies: the first, the second, and how far from it to that in parts of out - 1."""
        last = self.read[axis] - 1
        before, rest = divmod(place * last, max(1, self.out[axis] - 1))
        return before, min(before + 1, last), rest
