"""The gradient of a convolution's input by phases: for deconvolutions that enlarge images much."""

from __future__ import annotations

import math

import numpy as np

from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.arrays import ScratchOp

SHORT = 4  # pixels: with shorter strides, columns of whole windows and their sum are as quick


class Phases:
    """Cuts kernels and the gradient's image into pieces of a stride.

    A piece of the image sums up products of the few pixels of dy whose windows reach it, `reach`
    along each axis, with as many pieces of their kernels. So one matrix product makes all pieces of
    a sample, where columns of whole windows would hold each pixel several times.

    geometry: of the convolution, without dilation.
    """

    def __init__(self, geometry: ConvolutionGeometry) -> None:
        self.geometry = geometry
        sizes = zip(geometry.out_spatial, geometry.kernel, geometry.stride, strict=True)
        self.reach, self.pieces = zip(
            *((-(-kernel // stride), out - 1 - kernel // -stride) for out, kernel, stride in sizes),
            strict=True,
        )

    @staticmethod
    def suit(geometry: ConvolutionGeometry) -> bool:
        """Whether this way is the quicker one."""
        return min(geometry.stride, default=0) >= SHORT and math.prod(geometry.dilation) == 1

    def run(self, op: ScratchOp, dy: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
        """Overwrites out, (N, C, *spatial).  dy: geometry.out_shape.  w: geometry.weight_shape.
        op: whose scratch is used."""
        weights = self._cut_weights(op, w)
        group, rows, depth = weights.shape
        outputs, axes = dy.shape[1], len(self.reach)
        around = [reach - 1 for reach in self.reach]
        sizes = [size + 2 * more for size, more in zip(dy.shape[2:], around, strict=True)]
        padded = op.take("padded", (outputs, *sizes))
        padded.fill(0)
        places = zip(around, dy.shape[2:], strict=True)
        inside = slice(None), *(slice(more, more + size) for more, size in places)
        image = padded[inside]
        seen: np.ndarray = np.ndarray(  # each place of padded in several of them
            (outputs, *self.reach, *self.pieces),
            padded.dtype,
            buffer=padded,
            strides=(*padded.strides, *padded.strides[1:]),
        )
        columns = op.take("columns", seen.shape)
        products = op.take("outputs", (out.shape[1], *self.geometry.stride, *self.pieces))
        for gradient, target in zip(dy, out, strict=True):
            image[...] = gradient
            columns[...] = seen
            np.matmul(
                weights,
                columns.reshape(group, depth, -1),
                out=products.reshape(group, rows, -1),
            )
            pairs = ((1 + axes + axis, 1 + axis) for axis in range(axes))
            order = (0, *(place for pair in pairs for place in pair))
            self._join(op, products.transpose(order), target)

    def _cut_weights(self, op: ScratchOp, w: np.ndarray) -> np.ndarray:
        """In scratch: (group, C / group * places in a piece, O / group * reach). The last piece of
        a kernel comes first: the first pixel that reaches a place does so by its last piece."""
        group, (outputs, inputs) = self.geometry.group, w.shape[:2]
        pairs = list(zip(self.reach, self.geometry.stride, strict=True))
        whole = tuple(reach * stride for reach, stride in pairs)
        if whole != self.geometry.kernel:
            kernels = op.take("kernels", (outputs, inputs, *whole))
            kernels.fill(0)
            inside = slice(None), slice(None), *map(slice, self.geometry.kernel)
            kernels[inside] = w
            w = kernels
        cut = w.reshape(group, outputs // group, inputs, *(size for pair in pairs for size in pair))
        reaches, places = range(3, cut.ndim, 2), range(4, cut.ndim, 2)
        cut = np.flip(cut, tuple(reaches)).transpose(0, 2, *places, 1, *reaches)
        weights = op.take("weights", cut.shape)
        weights[...] = cut
        return weights.reshape(group, inputs * math.prod(self.geometry.stride), -1)

    def _join(self, op: ScratchOp, pieces: np.ndarray, target: np.ndarray) -> None:
        """pieces: (C, piece, place in it, ...) for each axis.  target: (C, *spatial), of which the
        pieces hold the padding too, but perhaps not the end."""
        whole = tuple(
            count * stride for count, stride in zip(self.pieces, self.geometry.stride, strict=True)
        )
        if target.shape[1:] == whole and not any(self.geometry.pad):
            target.reshape(pieces.shape)[...] = pieces
            return
        image = op.take("image", (len(target), *whole))
        image.reshape(pieces.shape)[...] = pieces
        places = zip(self.geometry.pad, target.shape[1:], strict=True)
        inner = slice(None), *(slice(pad, pad + size) for pad, size in places)
        found = image[inner]
        if found.shape != target.shape:
            target.fill(0)
        target[tuple(map(slice, found.shape))] = found
