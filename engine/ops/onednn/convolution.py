"""Convolution on oneDNN."""

from __future__ import annotations

from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Pass, Primitive, describe
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.weighted import WeightedOp

SLOW = ("ref", "gemm", "x64:gemm")  # implementations for layouts that have no kernel of their own


class OneDnnConvolution(WeightedOp):
    """y[n, o] = b[o] + sum over the channels c of o's group and kernel places: w[o, c] x[n, c].

    x: geometry.shape.  w: geometry.weight_shape.  b: (num_output,) or None.  y: geometry.out_shape.
    Groups are an axis of their own in the library's weights.
    """

    def __init__(self, ops: PrimitiveOps, geometry: ConvolutionGeometry) -> None:
        outputs, *rest = geometry.weight_shape
        groups = (geometry.group,) if geometry.group > 1 else ()
        super().__init__(ops, (*groups, outputs // geometry.group, *rest))
        self.geometry = geometry
        dilations = tuple(dilation - 1 for dilation in geometry.dilation)  # 0 for dense kernels
        self._window = geometry.stride, dilations, geometry.pad, geometry.pad

    @classmethod
    def supports(cls, ops: Ops, geometry: ConvolutionGeometry) -> bool:
        """One to three spatial axes, nothing empty, no window beyond the padding."""
        sizes = (*geometry.shape, *geometry.weight_shape, *geometry.out_shape)
        return 1 <= len(geometry.kernel) <= 3 and min(sizes) > 0 and geometry.fits

    def describe_forward(self, bias: bool) -> Primitive:
        return describe(
            "convolution_forward", Pass.FORWARD_TRAINING, Algorithm.CONVOLUTION_DIRECT,
            *self._tensors(bias), *self._window,
        )  # fmt: skip

    def describe_data(self, forward: Primitive) -> Primitive:
        x, w, _, y = self._tensors(False)
        return describe(
            "convolution_backward_data", Algorithm.CONVOLUTION_DIRECT,
            x, w, y, *self._window, forward=forward,
        )  # fmt: skip

    def describe_parameters(self, forward: Primitive, bias: bool) -> Primitive:
        """Takes x as it lies since the forward pass, unless there is no fast code for that."""
        x, *rest = self._tensors(bias)
        for source in (forward.argument(Arg.SOURCE), x):
            primitive = describe(
                "convolution_backward_weights", Algorithm.CONVOLUTION_DIRECT,
                source, *rest, *self._window, forward=forward,
            )  # fmt: skip
            if not primitive.implementation.startswith(SLOW):
                break
        return primitive

    def _tensors(self, bias: bool) -> tuple[Descriptor, Descriptor, Descriptor | None, Descriptor]:
        """x, w, b and y; the primitive chooses their layouts."""
        geometry = self.geometry
        return (
            Descriptor.any(geometry.shape),
            Descriptor.any(self.weights),
            Descriptor.plain((geometry.num_output,)) if bias else None,
            Descriptor.any(geometry.out_shape),
        )
