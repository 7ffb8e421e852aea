"""Convolution on numpy: the reference."""

from __future__ import annotations

import math

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.arrays import HostOps, ScratchOp
from caffepy.engine.ops.numpy.depthwise import DepthwiseGradient
from caffepy.engine.ops.numpy.im2col import Windows
from caffepy.engine.ops.numpy.phases import Phases
from caffepy.engine.ops.numpy.totals import channel_sums, column_sums


class Convolution(ScratchOp):
    """y[n, o] = b[o] + sum over the channels c of o's group and kernel places: w[o, c] x[n, c].

    x: geometry.shape.  w: geometry.weight_shape.  b: (num_output,) or None.  y: geometry.out_shape.
    Per chunk of samples: im2col into scratch, then one matrix product per group. The gradient of x
    comes phase by phase where strides are long.
    """

    def __init__(self, ops: HostOps, geometry: ConvolutionGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._windows = Windows(geometry, ops.dtype.itemsize)
        self._turned = (
            DepthwiseGradient(ops, geometry) if DepthwiseGradient.fits(geometry) else None
        )
        channels = geometry.shape[1] + geometry.num_output
        self._phases = Phases(geometry) if Phases.suit(geometry) else None
        self._per_sample = (  # products for the weights, without columns: where they are smaller
            self._windows.pointwise
            and math.prod(geometry.weight_shape) <= channels * self._windows.places
        )

    @step(reads="x w b", writes="out")
    def forward(self, x: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: y."""
        weights = self._weights(w.read())
        source, target = x.read(), out.write()
        bias = None if b is None else b.read().reshape(-1, 1)
        if self._windows.pointwise:
            np.matmul(weights, self._grouped(source), out=self._grouped(target))
            if bias is not None:
                y = target.reshape(*target.shape[:2], self._windows.places)
                y += bias
            return
        for chunk in self._windows.chunks():
            padded, columns, outputs = self._scratch(chunk)
            self._windows.gather(source[chunk], padded=padded, columns=columns)
            np.matmul(weights, columns, out=outputs)
            if bias is not None:
                y = outputs.reshape(self.geometry.num_output, -1)
                y += bias
            self._to_samples(outputs, target[chunk])

    @step(reads="dy w", writes="out")
    def backward_data(self, dy: Value, w: Value, *, out: Value) -> None:
        """out: gradient of x."""
        if self._phases is not None:
            self._phases.run(self, dy.read(), w.read(), out.write())
            return
        # (group, C / group * kernel, O / group)
        weights = self._weights(w.read()).transpose(0, 2, 1)
        gradient, target = dy.read(), out.write()
        if self._turned is not None:
            self._turned.run(gradient, w.read(), target)
            return
        if self._windows.pointwise:
            np.matmul(weights, self._grouped(gradient), out=self._grouped(target))
            return
        for chunk in self._windows.chunks():
            padded, columns, outputs = self._scratch(chunk)
            self._from_samples(gradient[chunk], outputs)
            product = np.multiply if weights.shape[2] == 1 else np.matmul  # depthwise: no sum
            product(weights, outputs, out=columns)
            self._windows.scatter(columns, padded=padded, out=target[chunk])

    @step(reads="dy x", adds="add_w add_b")
    def backward_params(
        self, dy: Value, x: Value, *, add_w: Value | None = None, add_b: Value | None = None
    ) -> None:
        """Adds the gradients of the parameters."""
        gradient = dy.read()
        if add_b is not None:
            pixels = gradient.reshape(*gradient.shape[:2], self._windows.places)
            add_b.modify().reshape(-1)[:] += channel_sums(pixels)
        if add_w is None:
            return
        weights = self._weights(add_w.modify())
        source = x.read()
        for chunk in self._windows.chunks():
            if self._per_sample:
                weights += self._sum_of_products(gradient[chunk], source[chunk])
                continue
            padded, columns, outputs = self._scratch(chunk)
            self._windows.gather(source[chunk], padded=padded, columns=columns)
            self._from_samples(gradient[chunk], outputs)
            weights += np.matmul(outputs, columns.transpose(0, 2, 1))

    def _sum_of_products(self, gradient: np.ndarray, x: np.ndarray) -> np.ndarray:
        """(group, O / group, C / group): the gradient of pointwise weights."""
        images = self._grouped(x).swapaxes(2, 3)  # (samples, group, pixels, C / group)
        group, inputs = images.shape[1], images.shape[3]
        outputs = self.geometry.num_output // group
        products = self.take("columns", (len(x), group, outputs, inputs))
        np.matmul(self._grouped(gradient), images, out=products)
        total = column_sums(products.reshape(len(x), group * outputs * inputs))
        return total.reshape(group, outputs, inputs)

    def _scratch(self, chunk: slice) -> list[np.ndarray]:
        """Padded images, columns, and outputs (group, O / group, out * samples)."""
        samples = chunk.stop - chunk.start
        windows, geometry = self._windows, self.geometry
        outputs = (geometry.group, geometry.num_output // geometry.group, windows.places * samples)
        return [
            self.take("padded", windows.padded_shape(samples)),
            self.take("columns", windows.columns_shape(samples)),
            self.take("outputs", outputs),
        ]

    def _weights(self, w: np.ndarray) -> np.ndarray:
        """(group, O / group, C / group * kernel)"""
        return w.reshape(self.geometry.group, self.geometry.num_output // self.geometry.group, -1)

    def _grouped(self, blob: np.ndarray) -> np.ndarray:
        """(N, group, channels / group, pixels), where input and output have as many pixels"""
        count, channels = blob.shape[:2]
        group = self.geometry.group
        return blob.reshape(count, group, channels // group, self._windows.places)

    def _to_samples(self, outputs: np.ndarray, y: np.ndarray) -> None:
        """Copies (group, O / group, out * samples) to y: (samples, O, *out)."""
        channels, places = self.geometry.num_output, self._windows.places  # there may be no place
        content = outputs.reshape(channels, places, len(y))
        y.reshape(len(y), channels, places)[...] = content.transpose(2, 0, 1)

    def _from_samples(self, y: np.ndarray, outputs: np.ndarray) -> None:
        """Copies y, (samples, O, *out), to (group, O / group, out * samples)."""
        channels, places = self.geometry.num_output, self._windows.places
        content = y.reshape(len(y), channels, places)
        outputs.reshape(channels, places, len(y))[...] = content.transpose(1, 2, 0)
