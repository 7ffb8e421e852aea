"""Windows of images as the columns of a matrix on a GPU."""

from __future__ import annotations

import math

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.windows import axis_windows, plane_windows
from caffepy.engine.ops.geometry import ConvolutionGeometry


class WindowOp(CudaOp):
    """Base of ops that make columns of the windows of images, of some samples at a time.

    rows: of the columns, C * kernel.  places: windows of a sample.
    """

    family = "convolution"

    def __init__(self, ops: DeviceOps, geometry: ConvolutionGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self.rows = geometry.shape[1] * math.prod(geometry.kernel)
        self.places = math.prod(geometry.out_spatial)
        self._planes = len(geometry.kernel) <= 2
        self._windows = (plane_windows if self._planes else axis_windows)(ops, geometry)

    def gather(self, x: Value, columns: Value, chunk: range, row_step: int, step: int) -> None:
        """Fills `columns` with the windows of the samples `chunk` of x.

        row_step: elements from row to row.  step: from sample to sample.
        """
        samples, first = len(chunk), chunk.start
        channels, kernel = self.geometry.shape[1], math.prod(self.geometry.kernel)
        steps = first, row_step, step, self._windows
        if self._planes:
            count = channels * samples * self.places
            name = self.ops.products.kernel("im2col", columns)
            self.launch(name, count, samples, *steps, x, columns)
        else:
            count = self.rows * samples * self.places
            sizes = len(self.geometry.kernel), channels, kernel, samples, self.places
            name = self.ops.products.kernel("im2col_any", columns)
            self.launch(name, count, *sizes, *steps, x, columns)

    def scatter(self, columns: Value, out: Value, chunk: range, row_step: int, step: int) -> None:
        """Fills the samples `chunk` of `out`, a value like x that has been written on the device,
        with the sums of the columns over each pixel."""
        samples, first = len(chunk), chunk.start
        channels, kernel = self.geometry.shape[1], math.prod(self.geometry.kernel)
        pixels = math.prod(self.geometry.shape[2:])
        steps = first, row_step, step, self._windows
        if self._planes:
            self.launch("col2im", samples * channels * pixels, samples, *steps, columns, out)
        else:
            sizes = len(self.geometry.kernel), channels, kernel, pixels
            count = samples * channels * pixels
            self.launch("col2im_any", count, *sizes, *steps, columns, out)


class CudaIm2col(WindowOp):
    """y[n, (c, place), out] = the pixel of x[n, c] at that place of each window; 0 in padding.

    x: geometry.shape elements.  y: (N, C * kernel, *out) elements.
    """

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        """out: y."""
        self.gather(x, out, self._samples, self.places, self.rows * self.places)

    @step(reads="dy", writes="out")
    def backward(self, dy: Value, *, out: Value) -> None:
        """out: gradient of x: over all windows that hold a pixel, the sum of their gradients."""
        out.write(self.ops.layout)
        self.scatter(dy, out, self._samples, self.places, self.rows * self.places)

    @property
    def _samples(self) -> range:
        return range(self.geometry.shape[0])
