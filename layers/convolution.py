"""Convolution: learnable filters slid over images, or over any number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Shape, Value
from caffepy.engine.ops.geometry import ConvolutionGeometry


@register_layer("Convolution")
class ConvolutionLayer(Layer):
    """y[n, o] = b[o] + sum over channels c of o's group: W[o, c] slid over x[n, c].

    bottom[i]: (N, C, *spatial), all of one shape   top[i]: (N, num_output, *out)
    out = floor((size + 2 pad - (dilation (kernel - 1) + 1)) / stride) + 1 along each spatial axis
    blobs[0]: (num_output, C / group, *kernel)   blobs[1]: (num_output,)
    convolution_param: num_output; bias_term (true); group (1); axis (1): the channels' axis, those
    before it are samples, those after it spatial; kernel_size, stride (1), pad (0), dilation (1):
    one number, or one per spatial axis, or for two axes kernel_h and kernel_w, stride_h ...;
    weight_filler; bias_filler. engine and force_nd_im2col are of no effect.

    Raises: NetError where a size is missing or 0; ShapeError where channels do not divide into
    groups or the kernel does not fit.
    Source: Caffe's layer catalogue, Convolution; F. Yu and V. Koltun, 2016 (dilation).
    """

    bottoms = (1, None)
    tops = (1, None)
    equal_bottoms_tops = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.convolution_param
        self.refuse_fork_fields(param, _HARMLESS)
        self.axis = self.canonical_axis(param.axis, bottom[0])
        self.num_axes = bottom[0].num_axes
        self.channels = bottom[0].shape[self.axis]
        self.kernel = self._sizes("kernel_size", "kernel", None, 1)
        self.stride = self._sizes("stride", "stride", 1, 1)
        self.pad = self._sizes("pad", "pad", 0, 0)
        self.dilation = self._sizes("dilation", "dilation", 1, 1)
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
        weight_shape = self._geometry(bottom).weight_shape
        self.add_parameter(weight_shape, param.weight_filler)
        if param.bias_term:
            self.add_parameter((param.num_output,), param.bias_filler)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self._check_bottoms(bottom)
        geometry = self._geometry(bottom)
        for size, kernel, pad, dilation, out in zip(
            geometry.shape[2:],
            self.kernel,
            self.pad,
            self.dilation,
            geometry.out_spatial,
            strict=True,
        ):
            if out < 1:
                self.shape_error(
                    f"bottom '{bottom[0].name}' of shape {bottom[0].shape}",
                    f"at least {dilation * (kernel - 1) + 1} pixels for a kernel of {kernel} with "
                    f"dilation {dilation}",
                    f"{size + 2 * pad} ({size} and twice pad {pad})",
                    "Take a smaller kernel, more pad, or bigger images.",
                )
        for blob in top:
            blob.reshape((*bottom[0].shape[: self.axis], *geometry.out_shape[1:]))
        self.geometry = geometry
        self.op = self.ops.convolution(geometry)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        bias = self.blobs[1].data if len(self.blobs) > 1 else None
        for source, target in zip(bottom, top, strict=True):
            self.op.forward(
                self._input(source.data), self.blobs[0].data, bias, out=self._output(target.data)
            )

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        for source, target, wanted in zip(bottom, top, propagate_down, strict=True):
            gradient = self._output(target.diff)
            if any(self.param_propagate_down):
                self.op.backward_params(
                    gradient,
                    self._input(source.data),
                    add_w=self.learning_diff(0),
                    add_b=self.learning_diff(1),
                )
            if wanted:
                self.op.backward_data(gradient, self.blobs[0].data, out=self._input(source.diff))

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
        return sizes

    def _geometry(self, bottom: Blobs) -> ConvolutionGeometry:
        param, shape = self.param.convolution_param, bottom[0].shape
        return ConvolutionGeometry(
            (math.prod(shape[: self.axis]), *shape[self.axis :]),
            num_output=param.num_output,
            kernel=self.kernel,
            stride=self.stride,
            pad=self.pad,
            dilation=self.dilation,
            group=param.group,
            bias=param.bias_term,
        )

    def _input(self, value: Value) -> Value:
        """`value` of a bottom in the geometry's shape."""
        return value if self.axis == 1 else value.viewed(self.geometry.shape)

    def _output(self, value: Value) -> Value:
        """`value` of a top in the geometry's shape."""
        return value if self.axis == 1 else value.viewed(self.geometry.out_shape)


# Fields of forks that choose how a convolution is computed, not what.
_HARMLESS = (
    "cudnn_flavor",
    "cudnn_convolution_algo_seeker",
    "conv_algos_override",
    "conv_algorithm",
    "dilation_h",
    "dilation_w",
)
