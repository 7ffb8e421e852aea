"""Tile: copies of a blob side by side."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import AxisGeometry


@register_layer("Tile")
class TileLayer(Layer):
    """The bottom `tiles` times along an axis; the gradients of the copies are added up.

    bottom[0]: any shape with at least 1 axis   top[0]: the same, `tiles` times as long along `axis`
    tile_param: axis (1): negative ones count from the end; tiles: how often

    Raises: ShapeError where the axis does not exist; NetError where tiles is missing or below 1.
    Source: Caffe's layer catalogue, Tile.

    Example: x (2, 1, 4) -> y (2, 3, 4)
        layer { name: "y" type: "Tile" bottom: "x" top: "y" tile_param { tiles: 3 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.tile_param
        if param.tiles < 1:
            got = str(param.tiles) if param.HasField("tiles") else "none"
            self.error(f"tile_param.tiles: expected at least 1, got {got}. Set it.")

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        param, shape = self.param.tile_param, bottom[0].shape
        axis = self.canonical_axis(param.axis, bottom[0], "tile_param.axis")
        around = AxisGeometry.around(shape, axis)
        top[0].reshape((*shape[:axis], shape[axis] * param.tiles, *shape[axis + 1 :]))
        geometry = AxisGeometry(around.outer, param.tiles, around.size * around.inner)
        self.op = self.ops.tile(geometry)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        self.op.forward(bottom[0].data, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if propagate_down[0]:
            self.op.backward(top[0].diff, out=bottom[0].diff)
