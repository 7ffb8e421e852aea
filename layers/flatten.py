"""Flatten: several axes as one."""

from __future__ import annotations

import math

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.view_layer import ViewLayer


@register_layer("Flatten")
class FlattenLayer(ViewLayer):
    """Joins the axes from `axis` to `end_axis`, both included; elements stay where they are.

    bottom[0]: (N, C, H, W), say   top[0]: (N, C*H*W), the same memory
    flatten_param: axis (1): negative ones count from the end; end_axis (-1): likewise. Where it is
    just before `axis`, none are joined and an axis of size 1 is put in

    Raises: ShapeError where an axis does not exist or end_axis lies further before axis.
    Source: Caffe's layer catalogue, Flatten.

    Example: x (2, 3, 4, 5) -> y (2, 60)
        layer { name: "y" type: "Flatten" bottom: "x" top: "y" }
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
