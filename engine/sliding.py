"""What the layers of convolution_param have in common: windows that slide over images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.blob import MAX_COUNT
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import ConvolutionGeometry


class SlidingLayer(Layer):
    """A layer whose windows slide over the axes behind an axis of channels.

    After setup: axis, of the channels; num_axes and channels of the bottoms; kernel, stride, pad
    and dilation, a number per spatial axis.
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Raises: NetError, ShapeError where convolution_param's axis or sizes do not suit."""
        param = self.param.convolution_param
        self.refuse_fork_fields(param, _HARMLESS)
        self.axis = self.canonical_axis(param.axis, bottom[0])
        self.num_axes = bottom[0].num_axes
        self.channels = bottom[0].shape[self.axis]
        self.kernel = self._sizes("kernel_size", "kernel", None, 1)
        self.stride = self._sizes("stride", "stride", 1, 1)
        self.pad = self._sizes("pad", "pad", 0, 0)
        self.dilation = self._sizes("dilation", "dilation", 1, 1)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        """Raises: ShapeError where the bottoms do not suit what was set up."""
        if not super().reshape(bottom, top):
            return False
        self._check_bottoms(bottom)
        return True

    def sliding(self, shape: Shape, num_output: int, group: int = 1) -> ConvolutionGeometry:
        """The windows of this layer over images of `shape`, (N, C, *spatial)."""
        return ConvolutionGeometry(
            shape,
            num_output=num_output,
            kernel=self.kernel,
            stride=self.stride,
            pad=self.pad,
            dilation=self.dilation,
            group=group,
        )

    def as_samples(self, shape: Shape) -> Shape:
        """A bottom's shape with all axes before the channels as one, (N, C, *spatial)."""
        return (math.prod(shape[: self.axis]), *shape[self.axis :])

    def refuse_small_images(self, bottom: Blobs, geometry: ConvolutionGeometry) -> None:
        """Raises: ShapeError where a window lacks a stride of pixels or more in the padded
        images."""
        for axis, out in enumerate(geometry.out_spatial):
            if out < 1:
                extent, stride = geometry.extent[axis], self.stride[axis]
                size, pad = geometry.shape[2 + axis], self.pad[axis]
                self.shape_error(
                    f"bottom '{bottom[0].name}' of shape {bottom[0].shape}",
                    f"at least {extent - stride + 1} pixels for a kernel of {self.kernel[axis]} "
                    f"with dilation {self.dilation[axis]} and stride {stride}",
                    f"{size + 2 * pad} ({size} and twice pad {pad})",
                    "Take a smaller kernel, more pad, or bigger images.",
                )

    def _check_bottoms(self, bottom: Blobs) -> None:
        """Raises: ShapeError where bottoms differ, or do not suit the weights."""
        shape = bottom[0].shape
        if len(shape) != self.num_axes or shape[self.axis] != self.channels:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                f"{self.num_axes} axes with {self.channels} channels in axis {self.axis}, as when "
                "the weights were made",
                f"shape {shape}",
                "Keep axes and channels of a convolution's input fixed.",
            )
        for blob in bottom[1:]:
            if blob.shape != shape:
                self.shape_error(
                    f"bottom '{blob.name}'",
                    f"the shape of bottom '{bottom[0].name}', {shape}",
                    str(blob.shape),
                    "Make all bottoms of one shape, or one layer for each, sharing weights.",
                )

    def _sizes(self, name: str, short: str, default: int | None, least: int) -> Shape:
        """A size per spatial axis: the repeated field `name`, or fields `short`_h and `short`_w."""
        param = self.param.convolution_param
        axes = self.num_axes - self.axis - 1
        given = tuple(getattr(param, name))
        pair = f"{short}_h", f"{short}_w"
        if any(param.HasField(field) for field in pair):
            if given:
                self.error(f"expected {name} or {pair[0]} and {pair[1]}, got both. Remove one.")
            if axes != 2:
                self.error(
                    f"{pair[0]} and {pair[1]}: expected 2 spatial axes, got {axes}. "
                    f"Give {name} once per axis."
                )
            sizes = tuple(getattr(param, field) for field in pair)
        elif len(given) in (1, axes):
            sizes = given * axes if len(given) == 1 else given
        elif not given and default is not None:
            sizes = (default,) * axes
        else:
            self.error(
                f"{name}: expected one number, or one for each of the {axes} spatial axes, got "
                f"{len(given)}. Set {name} once."
            )
        if min(sizes, default=least) < least:
            self.error(
                f"{name}: expected at least {least} in each axis, got {sizes}. Set all of them."
            )
        if max(sizes, default=0) > MAX_COUNT:
            self.error(
                f"{name}: expected at most {MAX_COUNT} in each axis, got {sizes}. Reduce it."
            )
        return sizes


class KernelLayer(SlidingLayer):
    """A sliding layer with learnable kernels: Convolution, and its transpose.

    A subclass says in `geometry_of` which convolution its weights belong to. After setup:
    num_output, the channels of the tops, and group.
    """

    bottoms = (1, None)
    tops = (1, None)
    equal_bottoms_tops = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        """Raises: NetError where a size is missing or 0; ShapeError where channels do not divide
        into groups."""
        super().setup(bottom, top)
        self.num_output, self.group = self.outputs_and_groups(bottom)
        param = self.param.convolution_param
        self.add_parameter(self.geometry_of(bottom[0].shape).weight_shape, param.weight_filler)
        if param.bias_term:
            self.add_parameter((self.num_output,), param.bias_filler)

    def outputs_and_groups(self, bottom: Blobs) -> tuple[int, int]:
        """The channels of the tops, and in how many parts, as convolution_param says.

        Raises: NetError where one is 0; ShapeError where channels do not divide into groups."""
        param = self.param.convolution_param
        if param.num_output == 0:
            self.error("convolution_param.num_output: expected at least 1, got 0. Set it.")
        if param.group == 0:
            self.error("convolution_param.group: expected at least 1, got 0. Remove it.")
        for what, count in (
            (f"channels of '{bottom[0].name}'", self.channels),
            ("num_output", param.num_output),
        ):
            if count % param.group:
                self.shape_error(
                    what, f"a multiple of group ({param.group})", str(count), "Change group."
                )
        return param.num_output, param.group

    def geometry_of(self, shape: Shape) -> ConvolutionGeometry:
        """The convolution of these weights for bottoms of `shape`."""
        raise NotImplementedError(f"{type(self).__name__}.geometry_of")

    @property
    def bias(self) -> Value | None:
        """The bias, None without one."""
        return self.blobs[1].data if len(self.blobs) > 1 else None

    def seen(self, value: Value, shape: Shape) -> Value:
        """`value` of a bottom or top in the geometry's shape."""
        return value if self.axis == 1 else value.viewed(shape)


class ConvolvingLayer(KernelLayer):
    """A convolution: the layers of it differ in where their outputs and groups come from."""

    def geometry_of(self, shape: Shape) -> ConvolutionGeometry:
        return self.sliding(self.as_samples(shape), self.num_output, self.group)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self.geometry = self.geometry_of(bottom[0].shape)
        self.refuse_small_images(bottom, self.geometry)
        for blob in top:
            blob.reshape((*bottom[0].shape[: self.axis], *self.geometry.out_shape[1:]))
        self.op = self.ops.convolution(self.geometry)
        self.multiply_adds = len(bottom) * self.geometry.multiply_adds
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        geometry = self.geometry
        for source, target in zip(bottom, top, strict=True):
            x = self.seen(source.data, geometry.shape)
            y = self.seen(target.data, geometry.out_shape)
            self.op.forward(x, self.blobs[0].data, self.bias, out=y)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        geometry = self.geometry
        for source, target, wanted in zip(bottom, top, propagate_down, strict=True):
            gradient = self.seen(target.diff, geometry.out_shape)
            if any(self.param_propagate_down):
                self.op.backward_params(
                    gradient,
                    self.seen(source.data, geometry.shape),
                    add_w=self.learning_diff(0),
                    add_b=self.learning_diff(1),
                )
            if wanted:
                out = self.seen(source.diff, geometry.shape)
                self.op.backward_data(gradient, self.blobs[0].data, out=out)


# Fields of forks that choose how a convolution is computed, not what.
_HARMLESS = (
    "cudnn_flavor",
    "cudnn_convolution_algo_seeker",
    "conv_algos_override",
    "conv_algorithm",
    "dilation_h",
    "dilation_w",
)
