"""Convolution on a GPU by cuDNN."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import cast

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.bias import CudaBias
from caffepy.engine.ops.cuda.convolution import CudaConvolution
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.plan_choice import Way
from caffepy.engine.ops.cuda.port import Convolution
from caffepy.engine.ops.geometry import AxisGeometry, ConvolutionGeometry


class CudnnConvolution(CudaOp):
    """A convolution over 1 to 3 axes whose plans are cuDNN's; what has no plan goes by columns.

    Plans are chosen when a method is first called, since the forward pass of a test net needs but
    one of three: see PlanChoice. Where each window is one pixel, products of the images as they lie
    are timed beside them, since cuDNN turns images around for its fastest kernels.

    cuDNN adds to no gradient: that of w is written where it is 0 so far, else apart, and then
    added. The gradient of b is a sum of ours.

    What has a kernel for each channel goes by CudaDepthwise: it reads each number once, which is
    all that there is to gain, while cuDNN is made for many products with each.
    """

    family = "totals"

    @classmethod
    def supports(cls, ops: Ops, geometry: ConvolutionGeometry) -> bool:
        device = cast("DeviceOps", ops)
        shapes = geometry.shape, geometry.weight_shape, geometry.out_shape
        return (
            not isinstance(device.runtime.dnn, str)
            and device.dtype == np.float32
            and device.precision in ("fp32", "tf32")
            and 1 <= len(geometry.kernel) <= 3
            and geometry.fits
            and all(math.prod(shape) for shape in shapes)
        )

    def __init__(self, ops: DeviceOps, geometry: ConvolutionGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        places = math.prod(geometry.out_spatial)
        self._bias = CudaBias(ops, AxisGeometry(geometry.shape[0], geometry.num_output, places))
        self._weights = math.prod(geometry.weight_shape)
        one_pixel = math.prod(geometry.kernel) == math.prod(geometry.stride) == geometry.group == 1
        self._pointwise = one_pixel and not any(geometry.pad)
        self._ways: dict[tuple[str, bool], Way | None] = {}
        ops.workspace.reserve("third", self._weights)

    @step(reads="x w b", writes="out")
    def forward(self, x: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: y."""

        def without_cudnn() -> None:
            self._by_columns.forward(x, w, b, out=out)

        if (way := self._way("y", (x, w), out, without_cudnn, b)) is None:
            without_cudnn()
        else:
            self._run(way, (x, w), out, b)

    @step(reads="dy w", writes="out")
    def backward_data(self, dy: Value, w: Value, *, out: Value) -> None:
        """out: gradient of x."""

        def without_cudnn() -> None:
            self._by_columns.backward_data(dy, w, out=out)

        if (way := self._way("x", (w, dy), out, without_cudnn)) is None:
            without_cudnn()
        else:
            self._run(way, (w, dy), out)

    @step(reads="dy x", adds="add_w add_b")
    def backward_params(
        self, dy: Value, x: Value, *, add_w: Value | None = None, add_b: Value | None = None
    ) -> None:
        """Adds the gradients of the parameters."""
        if add_b is not None:
            self._bias.backward_bias(dy, add_b=add_b)
        if add_w is None:
            return
        apart = self.ops.workspace.take("third")

        def add_without_cudnn(add: Value) -> None:
            self._by_columns.backward_params(dy, x, add_w=add)

        way = self._way("w", (x, dy), apart, lambda: add_without_cudnn(apart))
        if way is None:
            add_without_cudnn(add_w)
        elif add_w.allocated:
            self._run(way, (x, dy), apart)
            self.launch("add_totals", self._weights, 0, 1, apart, add_w)
        else:  # it is 0 so far
            self._run(way, (x, dy), add_w)

    def _way(
        self,
        result: str,
        given: Sequence[Value],
        out: Value,
        without_cudnn: Callable[[], None],
        bias: Value | None = None,
    ) -> Way | None:
        """How to compute one of y, x and w from the two others, given in this order: x, w, y. None
        where cuDNN has no plan for it, or products of the images themselves are faster."""
        key = result, bias is not None
        if key not in self._ways:

            def run(way: Way, workspace: Value) -> None:
                self._run(way, given, out, bias, workspace)

            rival = without_cudnn if self._pointwise else None
            way = self._ways[key] = self.ops.plans.of(self._asked(*key), run, rival)
            if way is not None:
                self.ops.workspace.reserve("first", way.workspace_count(self.ops.dtype))
        return self._ways[key]

    def _run(
        self,
        way: Way,
        given: Sequence[Value],
        out: Value,
        bias: Value | None = None,
        workspace: Value | None = None,
    ) -> None:
        """Computes by a way, and what that leaves."""
        workspace = workspace or self.ops.workspace.take("first")
        layout = self.ops.layout
        operands = [value.read(layout) for value in given]
        if bias is not None and way.convolution.bias:
            operands.append(bias.read(layout))
        operands.append(out.write(layout))
        self.ops.runtime.convolve(way.plan, operands, workspace.write(layout))
        if bias is not None and not way.convolution.bias:
            self._bias.forward(out, bias, out=out)

    def _asked(self, result: str, bias: bool) -> list[Convolution]:
        """What cuDNN may be asked for: with the bias, where there is one, and without."""
        geometry = self.geometry
        # one axis lies as the second of two
        more = (1,) if len(geometry.kernel) == 1 else ()
        first = (0,) if more else ()
        x, w, y = (
            (*shape[:2], *more, *shape[2:])
            for shape in (geometry.shape, geometry.weight_shape, geometry.out_shape)
        )
        return [
            Convolution(
                result,
                x,
                w,
                y,
                stride=(*more, *geometry.stride),
                pad=(*first, *geometry.pad),
                dilation=(*more, *geometry.dilation),
                precision=self.ops.precision,
                bias=fused,
                repeatable=self.ops.deterministic,
            )
            for fused in ((True, False) if bias else (False,))
        ]

    @cached_property
    def _by_columns(self) -> CudaConvolution:
        """What computes that for which cuDNN has no plan."""
        if not self._pointwise:
            sizes = f"{self.geometry.shape} with {self.geometry.weight_shape}"
            log.info(f"Convolution of {sizes}: cuDNN has no plan for it, products of columns")
        return CudaConvolution(self.ops, self.geometry)
