"""Scale: multiplies by a blob along some axes, and may add another."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.factor import fitting_axis, spanned
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.proto.caffe_pb2 import FillerParameter


@register_layer("Scale")
class ScaleLayer(Layer):
    """y = s x + b, with s and b repeated along the axes they do not have.

    bottom[0]: x, any shape   bottom[1], or blobs[0] where there is none: s, its axes those of
    bottom[0] from `axis` on, or a scalar   top[0]: like bottom[0], may be bottom[0]
    the last of blobs, with bias_term: b, shaped like s
    scale_param: axis (1): the axis of bottom[0] at which s begins; num_axes (1): the axes of
    blobs[0], -1 all from `axis` on, 0 a scalar; filler (constant 1): of s; bias_term (false):
    add b; bias_filler (constant 0)

    Raises: ShapeError where the axes do not exist or sizes differ.
    Source: Caffe's layer catalogue, Scale.

    Example: x (2, 3, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Scale" bottom: "x" top: "y" scale_param { bias_term: true } }
    """

    bottoms = (1, 2)
    in_place_allowed = True

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.scale_param
        self.refuse_fork_fields(param)
        if len(bottom) > 1:
            shape = bottom[1].shape
        else:
            shape = spanned(self, bottom[0], param.axis, param.num_axes)
            ones = FillerParameter(type="constant", value=1)
            self.add_parameter(shape, param.filler if param.HasField("filler") else ones)
        if param.bias_term:
            self.add_parameter(shape, param.bias_filler)

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        factor = bottom[1] if len(bottom) > 1 else self.blobs[0]
        param = self.param.scale_param
        if param.bias_term and self.blobs[-1].shape != factor.shape:
            self.shape_error(
                f"bottom '{factor.name}'",
                f"shape {self.blobs[-1].shape}, as when the bias was made",
                str(factor.shape),
                "Keep the shape of the factor fixed.",
            )
        axis = fitting_axis(self, bottom[0], param.axis, factor.shape)
        top[0].reshape(bottom[0].shape)
        self.op = self.ops.scale(AxisGeometry.around(bottom[0].shape, axis, len(factor.shape)))
        return True

    @property
    def spoils_in_place(self) -> tuple[str, ...]:
        return ("values", "signs") if self.param.scale_param.bias_term else ("values",)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        factor = bottom[1] if len(bottom) > 1 else self.blobs[0]
        bias = self.blobs[-1].data if self.param.scale_param.bias_term else None
        self.op.forward(bottom[0].data, factor.data, bias, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        of_bottom = len(bottom) > 1
        factor = bottom[1] if of_bottom else self.blobs[0]
        out_factor = factor.diff if of_bottom and propagate_down[1] else None
        add_factor = None if of_bottom else self.learning_diff(0)
        add_bias = (
            self.learning_diff(len(self.blobs) - 1) if self.param.scale_param.bias_term else None
        )
        if out_factor or add_factor or add_bias:
            self.op.backward_params(
                top[0].diff, bottom[0].data, out_s=out_factor, add_s=add_factor, add_b=add_bias
            )
        if propagate_down[0]:
            self.op.backward_data(top[0].diff, factor.data, out=bottom[0].diff)
