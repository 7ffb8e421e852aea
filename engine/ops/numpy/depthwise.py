"""The gradient of images that have a kernel for each channel."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.arrays import HostOps, ScratchOp
from caffepy.engine.ops.numpy.im2col import Windows


class DepthwiseGradient(ScratchOp):
    """The gradient of x as the convolution of dy, in wider padding, with the kernels turned round:
    copying windows takes a third of the time of adding them up."""

    def __init__(self, ops: HostOps, geometry: ConvolutionGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        wider = zip(geometry.shape[2:], geometry.extent, strict=True)
        self._windows = Windows(
            replace(
                geometry,
                shape=(*geometry.shape[:2], *(size + extent - 1 for size, extent in wider)),
                pad=(0,) * len(geometry.pad),
            ),
            ops.dtype.itemsize,
        )
        starts = (
            extent - 1 - pad for extent, pad in zip(geometry.extent, geometry.pad, strict=True)
        )
        self._inside = (  # where dy lies in (C, *padded, samples)
            slice(None),
            *(
                slice(start, start + size)
                for start, size in zip(starts, geometry.out_spatial, strict=True)
            ),
        )

    @staticmethod
    def fits(geometry: ConvolutionGeometry) -> bool:
        """Windows of single channels side by side, of more than a pixel, none in padding only."""
        return (
            geometry.group == geometry.shape[1] == geometry.num_output
            and math.prod(geometry.stride) == 1 < math.prod(geometry.kernel)
            and all(pad < extent for pad, extent in zip(geometry.pad, geometry.extent, strict=True))
        )

    def run(self, dy: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
        """Overwrites out. w: (C, 1, *kernel)"""
        windows, channels = self._windows, len(w)
        turned = np.ascontiguousarray(w.reshape(channels, 1, -1)[:, :, ::-1])
        for chunk in windows.chunks():
            samples = chunk.stop - chunk.start
            padded = self.take("padded", windows.padded_shape(samples))
            columns = self.take("columns", windows.columns_shape(samples))
            padded.fill(0)
            padded[self._inside] = np.moveaxis(dy[chunk], 0, -1)
            windows.collect(padded, columns=columns)
            sums = self.take("outputs", (channels, 1, windows.places * samples))
            np.matmul(turned, columns, out=sums)
            target = out[chunk].reshape(samples, channels, windows.places)
            target[...] = sums.reshape(channels, windows.places, samples).transpose(2, 0, 1)
