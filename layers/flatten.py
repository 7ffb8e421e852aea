"""Flatten: several axes as one."""

from __future__ import annotations

import math

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Shape
from caffepy.engine.core.view_layer import ViewLayer


@register_layer("Flatten")
class FlattenLayer(ViewLayer):
    """Joins the axes from `axis` to `end_axis`, both included; elements stay where they are.

    bottom[0]: (N, C, H, W), say   top[0]: (N, C*H*W), the same memory
    flatten_param.axis: int, default 1
    flatten_param.end_axis: int, default -1; negative ones count from the end; the axis just before
    `axis` joins none, so that an axis of size 1 is put in

    Raises: ShapeError where an axis does not exist or end_axis lies further before axis.
    Source: Caffe's layer catalogue, Flatten.
    """

    def top_shape(self, bottom: Blob) -> Shape:
        param = self.param.flatten_param
        start = self.canonical_axis(param.axis, bottom, "flatten_param.axis")
        end = self.canonical_axis(param.end_axis, bottom, "flatten_param.end_axis")
        if end < start - 1:
            self.shape_error(
                "flatten_param.end_axis",
                f"axis {start - 1} or a later one of '{bottom.name}' of shape {bottom.shape}",
                str(end),
                "Change axis or end_axis.",
            )
        shape = bottom.shape
        return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
