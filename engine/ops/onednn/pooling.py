"""Pooling on oneDNN."""

from __future__ import annotations

from caffepy.engine.core.layout import Layout
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import PoolingGeometry
from caffepy.engine.ops.numpy.pooling import Pooling
from caffepy.engine.ops.onednn.binding import (
    Algorithm,
    Arg,
    Descriptor,
    Execution,
    Pass,
    Scratchpad,
    aligned,
    describe,
)
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
        """MAX, and AVE where the library divides by the same sizes; no window wholly outside."""
        if min(*geometry.shape, *geometry.out_shape) <= 0 or any(
            end - kernel >= size
            for end, kernel, size in zip(
                _ends(geometry), geometry.kernel, geometry.shape[2:], strict=True
            )
        ):
            return False
        return geometry.method == "MAX" or (
            geometry.method == "AVE" and _mean(geometry) is not None
        )

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
        x = describe_layout(layout, geometry.shape)
        algorithm = Algorithm.POOLING_MAX if geometry.method == "MAX" else _mean(geometry)
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
        # Where the maxima lie: from the forward to the backward pass.
        self._kept = [aligned(forward.argument(Arg.WORKSPACE).bytes)] * (geometry.method == "MAX")
        kept = [Arg.WORKSPACE] * len(self._kept)
        self._forward = Execution(forward, scratchpad, Arg.SOURCE, Arg.TARGET, *kept)
        places = Arg.TARGET_DIFF, Arg.SOURCE_DIFF, *kept
        self._backward = Execution(backward, scratchpad, *places)

    def forward(self, x: Value, out: Value) -> None:
        self._forward(x.read(self._x), out.write(self._y), *self._kept)

    def backward(self, dy: Value, out: Value) -> None:
        self._backward(dy.read(self._y), out.write(self._x), *self._kept)


def _ends(geometry: PoolingGeometry) -> list[int]:
    """Along H and W, where the last window ends, counted from the first pixel."""
    return [extent - pad for extent, pad in zip(geometry.extent, geometry.pad, strict=True)]


def _mean(geometry: PoolingGeometry) -> Algorithm | None:
    """The library's mean that equals Caffe's, which divides by the part of a window that lies in
    the padded image; None where neither does."""
    sizes = zip(_ends(geometry), geometry.shape[2:], geometry.pad, strict=True)
    if all(end <= size + pad for end, size, pad in sizes):
        return Algorithm.POOLING_AVERAGE_WITH_PADDING
    if not any(geometry.pad):
        return Algorithm.POOLING_AVERAGE_WITHOUT_PADDING
    return None
