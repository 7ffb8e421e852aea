"""Pooling on oneDNN."""

from __future__ import annotations

import math

import numpy as np

from caffepy.engine.core.layout import Layout
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import PoolingGeometry
from caffepy.engine.ops.numpy.planes import PlaneWindows
from caffepy.engine.ops.numpy.pooling import Pooling
from caffepy.engine.ops.onednn.binding import (
    Algorithm,
    Arg,
    Descriptor,
    Pass,
    aligned,
    describe,
    reorder,
)
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.layout import layout_of
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import describe_layout, tensor_layout


class OneDnnPooling(Op):
    """Maximum or mean of windows of (N, C, H, W), in whatever layout x lies.

    y: geometry.out_shape. Of equal maxima the first in row order counts, and nan is passed over, as
    in Caffe. The positions of the maxima that the library keeps are its own; where a mask is
    wanted, the numpy op does both passes.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, geometry: PoolingGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._plans: dict[Layout, _Plan] = {}
        self._plan: _Plan | None = None  # of the last forward pass; None where it was numpy's
        self._masked: Pooling | None = None

    @classmethod
    def supports(cls, ops: Ops, geometry: PoolingGeometry) -> bool:
        """MAX and AVE, no window wholly outside."""
        if min(*geometry.shape, *geometry.out_shape) <= 0 or any(
            end - kernel >= size
            for end, kernel, size in zip(
                _ends(geometry), geometry.kernel, geometry.shape[2:], strict=True
            )
        ):
            return False
        return geometry.method in ("MAX", "AVE")

    @step(reads="x", writes="out mask")
    def forward(self, x: Value, *, out: Value, mask: Value | None = None) -> None:
        """out: y.  mask: for MAX, where the maxima lie in the H x W plane, as floats; like y."""
        if mask is not None:
            self._plan = None
            self._reference().forward(x, out=out, mask=mask)
            return
        layout = tensor_layout(x)
        plan = self._plans.get(layout)
        if plan is None:
            plan = self._plans[layout] = _Plan(self.ops.scratchpad, self.geometry, layout)
        self._plan = plan
        plan.forward(x, out)

    @step(reads="dy x", writes="out")
    def backward(self, dy: Value, x: Value, *, out: Value) -> None:
        """out: gradient of x, after `forward`."""
        if self._plan is None:
            self._reference().backward(dy, x, out=out)
        else:
            self._plan.backward(dy, out)

    def _reference(self) -> Pooling:
        if self._masked is None:
            self._masked = Pooling(self.ops, self.geometry)
        return self._masked


class _Plan:
    """Both passes for one layout of x."""

    def __init__(self, scratchpad: Scratchpad, geometry: PoolingGeometry, layout: Layout) -> None:
        self._x = layout
        self._factors: _Factors | None = None
        x = describe_layout(layout, geometry.shape)
        algorithm, exact = _algorithm(geometry)
        after = tuple(
            end - size for end, size in zip(_ends(geometry), geometry.shape[2:], strict=True)
        )
        window = geometry.stride, geometry.kernel, (0, 0), geometry.pad, after
        forward = describe(
            "pooling_forward", Pass.FORWARD_TRAINING, algorithm,
            x, Descriptor.any(geometry.out_shape), *window,
        )  # fmt: skip
        y = forward.argument(Arg.TARGET)
        backward = describe("pooling_backward", algorithm, x, y, *window, forward=forward)
        self._y = layout_of(y)
        if not exact:
            self._factors = _Factors(scratchpad, geometry, y)
        # Where the maxima lie: from the forward to the backward pass.
        self._kept = [aligned(forward.argument(Arg.WORKSPACE).bytes)] * (geometry.method == "MAX")
        kept = [Arg.WORKSPACE] * len(self._kept)
        self._forward = Execution(forward, scratchpad, Arg.SOURCE, Arg.TARGET, *kept)
        places = Arg.TARGET_DIFF, Arg.SOURCE_DIFF, *kept
        self._backward = Execution(backward, scratchpad, *places)

    def forward(self, x: Value, out: Value) -> None:
        target = out.write(self._y)
        self._forward(x.read(self._x), target, *self._kept)
        if self._factors is not None:
            self._factors.apply(target, target)

    def backward(self, dy: Value, out: Value) -> None:
        source = dy.read(self._y)
        if self._factors is not None:
            source = self._factors.scaled(source)
        self._backward(source, out.write(self._x), *self._kept)


class _Factors:
    """What the library's means are to be multiplied by where windows reach beyond the padded image:
    it divides by the size of the kernel, Caffe by the part of the window that lies in there."""

    def __init__(self, scratchpad: Scratchpad, geometry: PoolingGeometry, y: Descriptor) -> None:
        plain = aligned(4 * math.prod(geometry.out_shape)).reshape(geometry.out_shape)
        plain[...] = math.prod(geometry.kernel) / PlaneWindows(geometry).areas()
        self._factors = aligned(y.bytes)
        Execution(
            reorder(Descriptor.plain(geometry.out_shape), y), scratchpad, Arg.SOURCE, Arg.TARGET
        )(plain, self._factors)
        self._scaled = aligned(y.bytes)
        flat = Descriptor.plain((y.bytes // 4,))
        product = describe("binary", Algorithm.BINARY_MUL, flat, flat, flat)
        self._multiply = Execution(product, scratchpad, Arg.SOURCE, Arg.SOURCE_1, Arg.TARGET)

    def apply(self, source: np.ndarray, target: np.ndarray) -> None:
        """target = source * factors, in the layout of y; padding stays zero."""
        self._multiply(source.reshape(-1), self._factors, target.reshape(-1))

    def scaled(self, source: np.ndarray) -> np.ndarray:
        """source * factors, in memory that the next call overwrites."""
        self.apply(source, self._scaled)
        return self._scaled


def _ends(geometry: PoolingGeometry) -> list[int]:
    """Along H and W, where the last window ends, counted from the first pixel."""
    return [extent - pad for extent, pad in zip(geometry.extent, geometry.pad, strict=True)]


def _algorithm(geometry: PoolingGeometry) -> tuple[Algorithm, bool]:
    """The library's algorithm, and whether that is all: Caffe's mean divides by the part of a
    window that lies in the padded image."""
    if geometry.method == "MAX":
        return Algorithm.POOLING_MAX, True
    sizes = zip(_ends(geometry), geometry.shape[2:], geometry.pad, strict=True)
    if all(end <= size + pad for end, size, pad in sizes):
        return Algorithm.POOLING_AVERAGE_WITH_PADDING, True
    if not any(geometry.pad):
        return Algorithm.POOLING_AVERAGE_WITHOUT_PADDING, True
    return Algorithm.POOLING_AVERAGE_WITH_PADDING, False
