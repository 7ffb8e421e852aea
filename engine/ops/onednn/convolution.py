"""Convolution on oneDNN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.convolution import Convolution
from caffepy.engine.ops.numpy.phases import Phases
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Pass, Primitive, describe
from caffepy.engine.ops.onednn.passes import (
    DataPass,
    NumpyData,
    NumpyParameters,
    ParametersPass,
)
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.post_ops import PostOps
from caffepy.engine.ops.onednn.tensors import channels_last
from caffepy.engine.ops.onednn.weighted import WeightedOp

SLOW = ("ref", "gemm", "x64:gemm")  # implementations for layouts that have no kernel of their own
LONG = 16  # pixels: with such strides, the library's kernels do several times the work
FEW = 4  # channels: of so few, kernels that take 16 at a time leave most of their lanes idle
TILES = "brg"  # in implementations made of matrix products of small tiles
FULL = 16  # channels from which on the others are faster, in layouts with the channels last
POINTWISE, GENERAL = "jit_1x1:avx512", "jit:avx512"
FEW_FOR_POINTWISE = 256  # channels of x up to which GENERAL has the quicker gradient of the weights


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

    def describe_forward(self, bias: bool, after: PostOps | None = None) -> Primitive:
        def made(x: Descriptor, y: Descriptor) -> Primitive:
            primitive = describe(
                "convolution_forward", Pass.FORWARD_TRAINING, Algorithm.CONVOLUTION_DIRECT,
                x, w, b, y, *self._window, attributes=attributes,
            )  # fmt: skip
            return self._without_tiles(primitive)

        attributes = None if after is None else after.attributes()
        x, w, b, y = self._tensors(bias)
        blocked = made(x, y)
        dense = self._dense_layouts(blocked)
        if dense is None:
            return blocked
        primitive = made(*dense)
        return blocked if primitive.implementation.startswith(SLOW) else primitive

    def describe_data(self, forward: Primitive) -> Primitive:
        """In the layouts of the forward pass, unless there is no fast code for them."""
        x, w, _, y = self._tensors(False)
        primitive = _first_fast(
            describe(
                "convolution_backward_data", Algorithm.CONVOLUTION_DIRECT,
                source, w, target, *self._window, forward=forward,
            )
            for source, target in _choices(forward, x, y)
        )  # fmt: skip
        return self._without_tiles(primitive)

    def describe_parameters(self, forward: Primitive, bias: bool) -> Primitive:
        """Likewise."""
        x, w, b, y = self._tensors(bias)
        primitive = _first_fast(
            describe(
                "convolution_backward_weights", Algorithm.CONVOLUTION_DIRECT,
                source, w, b, target, *self._window, forward=forward,
            )
            for source, target in _choices(forward, x, y)
        )  # fmt: skip
        if POINTWISE in primitive.implementation and self.geometry.shape[1] <= FEW_FOR_POINTWISE:
            return primitive.preferring(GENERAL)
        return primitive

    def _without_tiles(self, primitive: Primitive) -> Primitive:
        """The primitive with code that does without matrix products of small tiles, where there is
        some and it is faster."""
        plenty = min(self.geometry.shape[1], self.geometry.num_output) >= FULL
        if not plenty or TILES not in primitive.implementation:
            return primitive
        if max(self.geometry.kernel) > 1:
            return primitive.preferring(GENERAL)
        return primitive if max(self.geometry.stride) == 1 else primitive.preferring(POINTWISE)

    def _dense_layouts(self, blocked: Primitive) -> tuple[Descriptor, Descriptor] | None:
        """Layouts of x and y with the channels last, where those that the library would choose have
        more padding than it takes to fill up the channels of an image; else None."""
        tensors = self.geometry.shape, self.geometry.out_shape
        places = Arg.SOURCE, Arg.TARGET
        chosen = [blocked.argument(place) for place in places]
        padded = [
            each.bytes > Descriptor.plain(dims).bytes
            for each, dims in zip(chosen, tensors, strict=True)
        ]
        if self.geometry.group > 1 or not any(padded):
            return None
        x = Descriptor.any(tensors[0]) if tensors[0][1] <= FEW else channels_last(tensors[0])
        return x, channels_last(tensors[1])

    def data_pass(self) -> DataPass | NumpyData:
        """numpy's for an image of few channels, and for very long strides, as in a deconvolution
        that enlarges an image at once: there, matrix products are faster."""
        few = self.geometry.shape[1] <= FEW
        long = min(self.geometry.stride) >= LONG and Phases.suit(self.geometry)
        if self.geometry.group == 1 and (few or long):
            return NumpyData(Convolution(self.ops, self.geometry))
        return super().data_pass()

    def parameters_pass(self, bias: bool) -> ParametersPass | NumpyParameters:
        """numpy's for groups of few channels that the library has no kernel for."""
        primitive = self.describe_parameters(self.forward_primitive(bias), bias)
        outputs, inputs = self.geometry.weight_shape[:2]
        if (
            primitive.implementation.startswith(SLOW)
            and self.geometry.group > 1
            and (max(inputs, outputs // self.geometry.group) <= FEW)
        ):
            return NumpyParameters(Convolution(self.ops, self.geometry))
        return ParametersPass(primitive, self.ops.scratchpad, self.plain_weights(), bias)

    def _tensors(self, bias: bool) -> tuple[Descriptor, Descriptor, Descriptor | None, Descriptor]:
        """x, w, b and y; the primitive chooses their layouts."""
        geometry = self.geometry
        return (
            Descriptor.any(geometry.shape),
            Descriptor.any(self.weights),
            Descriptor.plain((geometry.num_output,)) if bias else None,
            Descriptor.any(geometry.out_shape),
        )


def _choices(
    forward: Primitive, x: Descriptor, y: Descriptor
) -> Iterator[tuple[Descriptor, Descriptor]]:
    """Layouts of x and y to try for a backward pass, those that cost no reorder first."""
    source, target = forward.argument(Arg.SOURCE), forward.argument(Arg.TARGET)
    return iter(((source, target), (source, y), (x, y)))


def _first_fast(primitives: Iterable[Primitive]) -> Primitive:
    """The first with code of its own for its layouts, else the last."""
    for primitive in primitives:
        if not primitive.implementation.startswith(SLOW):
            break
    return primitive
