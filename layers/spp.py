"""SPP: spatial pyramid pooling, a vector of one length from images of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import ConcatGeometry, PoolingGeometry
from caffepy.proto.caffe_pb2 import SPPParameter


@register_layer("SPP")
class SPPLayer(Layer):
    """Level i = 0, 1, ... pools the image into 2^i x 2^i windows; all results side by side.

    bottom[0]: (N, C, H, W)
    top[0]: (N, C * (1 + 4 + ... + 4^(pyramid_height - 1))), each level as (C, rows, columns); with
    pyramid_height 1 (N, C, 1, 1)
    spp_param: pyramid_height; pool (MAX): MAX or AVE; engine (DEFAULT): of no effect

    A window has ceil(H / 2^i) rows, and so many more than H as all windows then have are padding,
    half of it (rounded up) before the first row; columns likewise. MAX and AVE treat padding as a
    Pooling layer does.

    Raises: NetError where pyramid_height is 0, or for STOCHASTIC pooling, which Caffe does not have
    on the CPU; ShapeError where the bottom is not (N, C, H, W), is empty, or too small for the
    highest level.
    Source: Caffe's layer catalogue, SPP; K. He et al., "Spatial pyramid pooling in deep
    convolutional networks for visual recognition", 2014.

    Example: x (2, 4, 8, 8) -> y (2, 84)
        layer { name: "y" type: "SPP" bottom: "x" top: "y" spp_param { pyramid_height: 3 } }
    """

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.spp_param
        self.refuse_fork_fields(param)
        self.method = SPPParameter.PoolMethod.Name(param.pool)
        if param.pyramid_height < 1:
            self.error("spp_param.pyramid_height: expected at least 1, got 0. Set it.")
        if self.method == "STOCHASTIC":
            self.error("spp_param.pool: expected MAX or AVE, got STOCHASTIC. Use one of these.")

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        shape = bottom[0].shape
        if len(shape) != 4 or 0 in shape[2:]:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                "4 axes (N, C, H, W) with pixels",
                f"shape {shape}",
                "Put the layer before those that flatten.",
            )
        levels = [
            self._level(bottom[0].name, shape, level)
            for level in range(self.param.spp_param.pyramid_height)
        ]
        self.pools = [self.ops.pooling(level) for level in levels]
        if len(levels) == 1:
            top[0].reshape(levels[0].out_shape)
            return True
        self.pooled = [Value(level.out_shape, self.ops.dtype) for level in levels]
        self.gradients = [Value(level.out_shape, self.ops.dtype) for level in levels]
        flat = [(shape[0], math.prod(level.out_shape[1:])) for level in levels]
        self.flat_pooled, self.flat_gradients = (
            [value.viewed(to) for value, to in zip(values, flat, strict=True)]
            for values in (self.pooled, self.gradients)
        )
        geometry = ConcatGeometry(tuple(flat), 1)
        self.concat, self.sum = self.ops.concat(geometry), self.ops.sum()
        self.share = Value(shape, self.ops.dtype)  # one level's part of the bottom's gradient
        top[0].reshape(geometry.out_shape)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if len(self.pools) == 1:
            self.pools[0].forward(bottom[0].data, out=top[0].data)
            return
        for pool, pooled in zip(self.pools, self.pooled, strict=True):
            pool.forward(bottom[0].data, out=pooled)
        self.concat.join(self.flat_pooled, out=top[0].data)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        x, total = bottom[0].data, bottom[0].diff
        if len(self.pools) == 1:
            self.pools[0].backward(top[0].diff, x, out=total)
            return
        self.concat.split(top[0].diff, parts=self.flat_gradients)
        self.pools[0].backward(self.gradients[0], x, out=total)
        for pool, gradient in zip(self.pools[1:], self.gradients[1:], strict=True):
            pool.backward(gradient, x, out=self.share)
            self.sum.forward([total, self.share], out=total)

    def _level(self, name: str, shape: tuple[int, ...], level: int) -> PoolingGeometry:
        """The windows of a level. Raises: ShapeError where one would lie in the padding."""
        windows = 2**level
        kernel = tuple(-(-size // windows) for size in shape[2:])
        pad = tuple(
            (size * windows - pixels + 1) // 2
            for size, pixels in zip(kernel, shape[2:], strict=True)
        )
        for pixels, size, padding in zip(shape[2:], kernel, pad, strict=True):
            if padding >= size:
                self.shape_error(
                    f"bottom '{name}' of shape {shape}",
                    f"images that {windows} x {windows} windows can divide so that each has pixels",
                    f"{pixels} pixels, which take windows of {size} with {padding} pixels padding",
                    "Take a smaller pyramid_height, or bigger images.",
                )
        (kernel_h, kernel_w), (pad_h, pad_w) = kernel, pad
        size = kernel_h, kernel_w
        return PoolingGeometry(shape, self.method, size, size, (pad_h, pad_w))
