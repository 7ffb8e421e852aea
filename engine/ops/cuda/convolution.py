"""Convolution on a GPU by matrix products of our own columns: what needs no cuDNN."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Prospect
from caffepy.engine.ops.cuda import normalised
from caffepy.engine.ops.cuda.batch_norm import CudaBatchNorm
from caffepy.engine.ops.cuda.bias import CudaBias
from caffepy.engine.ops.cuda.columns import WindowOp
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.cuda.port import Product
from caffepy.engine.ops.cuda.products import HALF
from caffepy.engine.ops.cuda.rectified import with_relu, with_relu_before
from caffepy.engine.ops.cuda.totals import ChannelTotals
from caffepy.engine.ops.geometry import AxisGeometry, ConvolutionGeometry

SCRATCH_BYTES = 256 << 20  # of the columns and outputs of as many samples as are worked on at once


class CudaConvolution(WindowOp):
    """y[n, o] = b[o] + sum over the channels c of o's group and kernel places: w[o, c] x[n, c].

    x: geometry.shape.  w: geometry.weight_shape.  b: (num_output,) or None.  y: geometry.out_shape.
    Per chunk of samples: columns, (group, C / group * kernel, samples * places), then one product
    per group, to or from outputs, (group, O / group, samples * places). Where each window is one
    pixel, and all of them are, products of the images themselves. Gradients of weights are summed
    chunk by chunk, in one order.
    """

    def __init__(self, ops: DeviceOps, geometry: ConvolutionGeometry) -> None:
        super().__init__(ops, geometry)
        count, channels = geometry.shape[:2]
        outputs = geometry.num_output
        self._bias = CudaBias(ops, AxisGeometry(count, outputs, self.places))
        one_pixel = math.prod(geometry.kernel) == math.prod(geometry.stride) == 1
        self._pointwise = one_pixel and not any(geometry.pad) and geometry.group == 1
        weights = math.prod(geometry.weight_shape)
        # products of each sample for the weights, then their sum: where that is less memory
        self._per_sample = (
            self._pointwise
            and weights <= (channels + outputs) * self.places
            and weights * count * ops.dtype.itemsize <= SCRATCH_BYTES
        )
        elements = (self.rows + outputs) * self.places
        most = max(1, SCRATCH_BYTES // max(1, elements * ops.dtype.itemsize))
        self._samples = -(-count // max(1, -(-count // most)))  # chunks of one size, or nearly
        if self._per_sample:
            self._totals = ChannelTotals(ops, AxisGeometry(count, weights, 1))
            ops.workspace.reserve("first", weights * count)
        else:
            ops.workspace.reserve("first", self.rows * self.places * self._samples)
            ops.workspace.reserve("second", outputs * self.places * self._samples)
            if ops.products.half:
                ops.workspace.reserve("left", outputs * self.places * self._samples, HALF)
                ops.workspace.reserve("right", self.rows * self.places * self._samples, HALF)

    @step(reads="x w b", writes="out")
    def forward(self, x: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: y."""
        self.rectified_forward(1.0, x, w, b, out=out)

    def merged(self, step: Step, after: Step) -> Step | None:
        """ReLU in place, where a kernel writes the results."""
        if self._pointwise and step.arguments.get("b") is None:
            return None
        return with_relu(self, step, after)

    def folded(self, step: Step, after: Step, prospect: Prospect) -> Step | None:
        """BatchNorm in place by stored statistics, and what may follow that."""
        return normalised.folded(step, after) if isinstance(after.op, CudaBatchNorm) else None

    def rearranged(self, before: Sequence[Step], step: Step) -> tuple[int, Sequence[Step]] | None:
        """The gradient of the bias, with ReLU's backward pass."""
        return with_relu_before(self._bias, before, step)

    def rectified_forward(
        self, slope: float, x: Value, w: Value, b: Value | None, *, out: Value
    ) -> None:
        """`forward` and ReLU."""
        if self._pointwise:
            product = self._of_images(self.geometry.num_output, self.geometry.shape[1])
            self.ops.multiply(product, w, x, out)
            if b is not None:
                self._bias.rectified_forward(slope, out, b, out=out)
            return
        out.write(self.ops.layout)
        columns, outputs = self._columns(factor=True), self._outputs()
        for chunk in self._chunks():
            wide = len(chunk) * self.places
            self.gather(x, columns, chunk, wide, self.places)
            m, k = self._group_sizes()
            self.ops.multiply(self._grouped(m, wide, k), w, columns, outputs)
            channels = self.geometry.num_output
            sizes = channels, len(chunk), self.places, chunk.start, b is not None, slope
            bias = outputs if b is None else b
            self.launch("by_sample", channels * wide, *sizes, outputs, bias, out)

    @step(reads="dy w", writes="out")
    def backward_data(self, dy: Value, w: Value, *, out: Value) -> None:
        """out: gradient of x."""
        if self._pointwise:
            product = self._of_images(self.geometry.shape[1], self.geometry.num_output, turned=True)
            self.ops.multiply(product, w, dy, out)
            return
        out.write(self.ops.layout)
        columns, outputs = self._columns(), self._outputs(factor=True)
        for chunk in self._chunks():
            wide = len(chunk) * self.places
            self._take_outputs(dy, outputs, chunk)
            k, m = self._group_sizes()
            self.ops.multiply(self._grouped(m, wide, k, transpose_a=True), w, outputs, columns)
            self.scatter(columns, out, chunk, wide, self.places)

    @step(reads="dy x", adds="add_w add_b")
    def backward_params(
        self, dy: Value, x: Value, *, add_w: Value | None = None, add_b: Value | None = None
    ) -> None:
        """Adds the gradients of the parameters."""
        if add_b is not None:
            self._bias.backward_bias(dy, add_b=add_b)
        if add_w is None:
            return
        if self._per_sample:
            self._add_products(dy, x, self._columns(), add_w)
            return
        columns, outputs = self._columns(factor=True), self._outputs(factor=True)
        for chunk in self._chunks():
            wide = len(chunk) * self.places
            self.gather(x, columns, chunk, wide, self.places)
            self._take_outputs(dy, outputs, chunk)
            m, n = self._group_sizes()
            product = self._grouped(m, n, wide, transpose_b=True, add=add_w.allocated)
            self.ops.multiply(product, outputs, columns, add_w)

    def _add_products(self, dy: Value, x: Value, products: Value, add_w: Value) -> None:
        """Adds the gradient of pointwise weights, sample by sample."""
        samples, channels = self.geometry.shape[:2]
        outputs, places = self.geometry.num_output, self.places
        weights = outputs * channels
        product = Product(
            m=outputs,
            n=channels,
            k=places,
            transpose_b=True,
            batch=samples,
            a_step=outputs * places,
            b_step=channels * places,
            out_step=weights,
        )
        self.ops.multiply(product, dy, x, products)
        self._totals.take("sum", products)
        self._totals.give(add=add_w)

    def _take_outputs(self, y: Value, outputs: Value, chunk: range) -> None:
        """Copies some samples of y, (N, O, places), to (O, samples, places)."""
        channels = self.geometry.num_output
        sizes = channels, len(chunk), self.places, chunk.start
        kernel = self.ops.products.kernel("by_channel", outputs)
        self.launch(kernel, channels * len(chunk) * self.places, *sizes, y, outputs)

    def _of_images(self, m: int, k: int, turned: bool = False) -> Product:
        """Of pointwise weights with each sample, (k, places). turned: the weights are (k, m)."""
        places = self.places
        return Product(
            m=m,
            n=places,
            k=k,
            transpose_a=turned,
            batch=self.geometry.shape[0],
            b_step=k * places,
            out_step=m * places,
        )

    def _grouped(
        self,
        m: int,
        n: int,
        k: int,
        transpose_a: bool = False,
        transpose_b: bool = False,
        add: bool = False,
    ) -> Product:
        """One product per group, of matrices side by side."""
        return Product(
            m=m,
            n=n,
            k=k,
            transpose_a=transpose_a,
            transpose_b=transpose_b,
            add=add,
            batch=self.geometry.group,
            a_step=m * k,
            b_step=k * n,
            out_step=m * n,
        )

    def _group_sizes(self) -> tuple[int, int]:
        """Outputs and rows of a group: the sides of its weights."""
        group = self.geometry.group
        return self.geometry.num_output // group, self.rows // group

    def _chunks(self) -> Iterator[range]:
        """All samples, so many at a time."""
        count = self.geometry.shape[0]
        for start in range(0, count, max(1, self._samples)):
            yield range(start, min(start + self._samples, count))

    def _columns(self, factor: bool = False) -> Value:
        """factor: as products take them; else as they give them, in the backend's dtype."""
        return self.ops.workspace.take("right" if factor and self.ops.products.half else "first")

    def _outputs(self, factor: bool = False) -> Value:
        """Likewise."""
        return self.ops.workspace.take("left" if factor and self.ops.products.half else "second")
