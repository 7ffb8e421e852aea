"""Normalize: vectors of channels divided by their length."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.dialect import Reading, meant
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.proto.caffe_pb2 import FillerParameter

_READINGS = {
    "ssd": Reading("y = scale x / length, with a learnt scale", "norm_param { }"),
    "happynear": Reading("y = x / length, without a scale", "normalize_param { }"),
}
TINY = 1e-6  # under the root in the reading with normalize_param


@register_layer("Normalize")
class NormalizeLayer(Layer):
    """y = scale x / sqrt(sum of x^2 + eps), SSD's, or with normalize_param y = x / length.

    bottom[0]: x, (N, C, ...)   top[0]: like x
    top[1], optional, with normalize_param or no block: the lengths, (N, 1, ...)
    blobs[0], not with normalize_param or 2 tops: scale, (C,), or a scalar when channel_shared
    norm_param: across_spatial (true): the sum is over all elements of a sample, else over the
    channels of each pixel; scale_filler (constant 1); channel_shared (true): one scale for all
    channels; eps (1e-10)
    normalize_param: normalize_type (L2): the length of the vector of channels of each pixel is
    sqrt(sum of x^2 + 1e-6), with "L1" the sum of |x| + 1e-6; bp_norm (false): the second top's
    gradient counts; fix_gradient (false): true is refused; the others: refused

    Which of the two forks is meant is told by the block; without one it is the other one's with two
    tops, SSD's with `param`, else what `--dialect ssd` or `--dialect happynear` says; SSD's where
    nothing does, with a warning.

    Raises: NetError where both blocks are given, or a second top with norm_param; ShapeError where
    there are no channels, or another number of them than at set-up.
    Source: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, and W. Liu et al.,
    "ParseNet", 2015, with the fork weiliu89/caffe (ssd); with normalize_param the fork
    happynear/caffe-windows.
    Differs: with channel_shared: false SSD multiplies the gradient of x by the scale after the sum
    over the channels instead of before, which is right only where all scales are equal; here it is
    the true one. So is that of a scale of 0, which is nan there.

    Example: x (2, 3, 4, 5) -> y (2, 3, 4, 5)
        layer { name: "y" type: "Normalize" bottom: "x" top: "y"
          norm_param {
            across_spatial: false channel_shared: false
            scale_filler { type: "constant" value: 20 } } }
    """

    tops = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        if self.param.HasField("norm_param") and self.param.HasField("normalize_param"):
            self.error(
                "expected norm_param or normalize_param, got both: they are two forks' layers of "
                "one name. Remove one."
            )
        self.plain = meant(self, _READINGS, self._shown(top), usual="ssd") == "happynear"
        if self.plain:
            self._set_up_plain(top)
            return
        param = self.param.norm_param
        self.refuse_fork_fields(param)
        self._refuse_no_channels(bottom)
        ones = FillerParameter(type="constant", value=1)
        self.add_parameter(
            () if param.channel_shared else bottom[0].shape[1:2],
            param.scale_filler if param.HasField("scale_filler") else ones,
        )

    def _shown(self, top: Blobs) -> str:
        """The fork whose layer the blocks, tops and `param` show this to be, if they do."""
        if self.param.HasField("normalize_param") or len(top) > 1:
            return "happynear"
        return "ssd" if self.param.HasField("norm_param") or self.param.param else ""

    def _set_up_plain(self, top: Blobs) -> None:
        if self.param.HasField("norm_param"):
            self.error("expected 1 top with norm_param, got 2. Remove the second top.")
        param = self.param.normalize_param
        if param.normalize_type not in ("L1", "L2"):
            self.error(
                "normalize_param.normalize_type: expected L1 or L2, got "
                f"'{param.normalize_type}'. Use one of these."
            )
        for name in ("across_spatial", "scale_filler", "channel_shared", "eps"):
            if param.HasField(name):
                self.error(
                    f"normalize_param.{name}: expected none, got one: it is a field of SSD's "
                    "layer. Move it to norm_param, or remove it."
                )
        if param.fix_gradient:
            self.error(
                "normalize_param.fix_gradient: expected false, got true, which is not implemented. "
                "Remove it."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        self._refuse_no_channels(bottom)
        shape = bottom[0].shape
        top[0].reshape(shape)
        if self.plain:
            absolute = self.param.normalize_param.normalize_type == "L1"
            axes, eps = 1, TINY
        else:
            param, absolute = self.param.norm_param, False
            axes, eps = (len(shape) - 1 if param.across_spatial else 1), param.eps
            scales = self.blobs[0].shape
            if scales and shape[1:2] != scales:
                self.shape_error(
                    f"bottom '{bottom[0].name}'",
                    f"{scales[0]} channels in axis 1, as when the scales were made",
                    f"shape {shape}",
                    "Keep the number of channels, or share one scale: channel_shared.",
                )
            self.scale = self.ops.scale(AxisGeometry.around(shape, 1, len(scales)))
        lengths = shape[0], 1, *shape[1 + axes :]
        if len(top) > 1:
            top[1].reshape(lengths)
            self.length = top[1].data
        else:
            self.length = Value(lengths, self.ops.dtype)
        self.unit = top[0].data if self.plain else Value(shape, self.ops.dtype)
        self.op = self.ops.unit_length(AxisGeometry.around(shape, 1, axes), eps, absolute)
        return True

    def _refuse_no_channels(self, bottom: Blobs) -> None:
        if bottom[0].num_axes < 2 or not bottom[0].shape[1]:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                "at least 2 axes (N, C, ...) with channels",
                f"shape {bottom[0].shape}",
                "Reshape it.",
            )

    @property
    def gradient_reads(self) -> str:
        return "values" if self.plain else ""

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=self.unit, out_length=self.length)
        if not self.plain:
            self.scale.forward(self.unit, self.blobs[0].data, None, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        gradient, target, of_length = top[0].diff, bottom[0].diff, None
        add_scale = self.learning_diff(0)
        if add_scale is not None:
            self.scale.backward_params(gradient, self.unit, out_s=None, add_s=add_scale, add_b=None)
        if not propagate_down[0]:
            return
        if not self.plain:
            self.scale.backward_data(gradient, self.blobs[0].data, out=target)
            gradient = target
        elif len(top) > 1 and self.param.normalize_param.bp_norm:
            of_length = top[1].diff
        self.op.backward(gradient, self.unit, self.length, of_length, out=target)
