"""Convolution on a GPU by cuDNN."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.record import Step, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops, Prospect
from caffepy.engine.ops.cuda import normalised
from caffepy.engine.ops.cuda.batch_norm import CudaBatchNorm
from caffepy.engine.ops.cuda.bias import CudaBias
from caffepy.engine.ops.cuda.convolution import CudaConvolution
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.plan_choice import Way
from caffepy.engine.ops.cuda.port import Convolution
from caffepy.engine.ops.cuda.products import HALF
from caffepy.engine.ops.cuda.rectified import with_relu, with_relu_before
from caffepy.engine.ops.geometry import AxisGeometry, ConvolutionGeometry


@dataclass(frozen=True)
class _Behind:
    """What is done to the results of a convolution. slope: of the ReLU; 1 where there is none."""

    bias: Value | None = None
    slope: float = 1.0

    @property
    def is_bias(self) -> bool:
        """Whether it is a bias alone, which cuDNN may add; its ReLU need not keep nan."""
        return self.bias is not None and self.slope == 1


NOTHING = _Behind()


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
        if ops.products.half:
            shapes = geometry.shape, geometry.weight_shape, geometry.out_shape
            ops.workspace.reserve("result", max(math.prod(shape) for shape in shapes), HALF)

    @step(reads="x w b", writes="out")
    def forward(self, x: Value, w: Value, b: Value | None, *, out: Value) -> None:
        """out: y."""
        self.rectified_forward(1.0, x, w, b, out=out)

    def merged(self, step: Step, after: Step) -> Step | None:
        """ReLU in place, where a kernel of ours adds the bias."""
        return None if step.arguments.get("b") is None else with_relu(self, step, after)

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

        def without_cudnn() -> None:
            self._by_columns.rectified_forward(slope, x, w, b, out=out)

        behind = _Behind(b, slope)
        if (way := self._way("y", (x, w), out, without_cudnn, behind)) is None:
            without_cudnn()
        else:
            self._run(way, (x, w), out, behind)

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
        behind: _Behind = NOTHING,
    ) -> Way | None:
        """How to compute one of y, x and w from the two others, given in this order: x, w, y. None
        where cuDNN has no plan for it, or products of the images themselves are faster."""
        key = result, behind.is_bias
        if key not in self._ways:

            def run(way: Way, workspace: Value) -> None:
                self._run(way, given, out, behind, workspace)

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
        behind: _Behind = NOTHING,
        workspace: Value | None = None,
    ) -> None:
        """Computes by a way, and what is left to do behind that."""
        workspace = workspace or self.ops.workspace.take("first")
        layout, asked, bias = self.ops.layout, way.convolution, behind.bias
        operands = [self.ops.products.factor(value) for value in given]
        if asked.bias:
            assert bias is not None, "it was asked for because there is one"
            operands.append(bias.read(layout))
        target = out if asked.float_out else self.ops.workspace.take("result")
        operands.append(target.write(layout))
        self.ops.runtime.convolve(way.plan, operands, workspace.write(layout))
        if not asked.float_out:
            self._widen(asked, target, behind, out)
        elif bias is not None and not asked.bias:
            self._bias.rectified_forward(behind.slope, out, bias, out=out)

    def _widen(self, asked: Convolution, halves: Value, behind: _Behind, out: Value) -> None:
        """A result of 16 bits to one of the backend's dtype, and what is behind it."""
        shape = {"y": asked.y, "x": asked.x, "w": asked.w}[asked.result]
        sizes = math.prod(shape), shape[1], math.prod(shape[2:])
        bias = out if behind.bias is None else behind.bias
        options = behind.bias is not None, behind.slope
        kernel = f"widen_{self.ops.precision}"
        self.ops.kernels("cast").launch(kernel, *sizes, *options, halves, bias, out)

    def _asked(self, result: str, bias: bool) -> list[Convolution]:
        """What cuDNN may be asked for: with the bias where it is all that is behind, and without;
        with fp16 and bf16 for results of 16 bits last, which it has plans for on any GPU."""
        geometry = self.geometry
        # one axis lies as the second of two
        more = (1,) if len(geometry.kernel) == 1 else ()
        first = (0,) if more else ()
        x, w, y = (
            (*shape[:2], *more, *shape[2:])
            for shape in (geometry.shape, geometry.weight_shape, geometry.out_shape)
        )
        kinds = [(True, True), (True, False)] if bias else [(True, False)]
        if self.ops.products.half:
            kinds.append((False, False))
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
                bias=bias and float_out and fused,
                float_out=float_out,
                repeatable=self.ops.deterministic,
            )
            for float_out, fused in kinds
        ]

    @cached_property
    def _by_columns(self) -> CudaConvolution:
        """What computes that for which cuDNN has no plan."""
        if not self._pointwise:
            sizes = f"{self.geometry.shape} with {self.geometry.weight_shape}"
            log.info(f"Convolution of {sizes}: cuDNN has no plan for it, products of columns")
        return CudaConvolution(self.ops, self.geometry)
