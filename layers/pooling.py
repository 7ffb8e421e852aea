"""Pooling: the maximum, the mean or a random choice of each window of a feature map."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffepy.engine.core.blob import MAX_COUNT
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.ops.geometry import PoolingGeometry
from caffepy.proto.caffe_pb2 import PoolingParameter

MAX, AVE, STOCHASTIC = PoolingParameter.MAX, PoolingParameter.AVE, PoolingParameter.STOCHASTIC


@register_layer("Pooling")
class PoolingLayer(Layer):
    """y = the maximum (MAX), the mean (AVE) or one random element (STOCHASTIC) of each window of x.

    bottom[0]: (N, C, H, W)   top[0]: (N, C, out_h, out_w), where
    out = ceil((size + 2 pad - kernel) / stride) + 1, or floor; where there is padding, without a
    last window that would begin beyond the image and its leading padding
    top[1], optional, MAX only: like top[0], where each maximum lies in its plane, as
    row * W + column
    pooling_param: pool (MAX): MAX, AVE or STOCHASTIC; kernel_size: not with global_pooling; stride
    (1), pad (0); kernel_h (none), kernel_w (none), stride_h (none), stride_w (none), pad_h (0),
    pad_w (0): in place of the above; global_pooling (false): one window, the whole plane;
    round_mode (CEIL): CEIL or FLOOR; engine (DEFAULT): of no effect

    MAX leaves padding out, and the first maximum in row order takes the gradient. AVE counts
    padding as zeros and divides by the window's part inside the padded image. STOCHASTIC picks an
    element of positive x with a probability proportional to it, in phase TEST the mean weighted by
    these probabilities.

    Raises: NetError where sizes are missing, 0, or given twice; ShapeError where bottom is not
    (N, C, H, W), or the kernel does not fit.
    Source: Caffe's layer catalogue, Pooling; M. Zeiler and R. Fergus, 2013 (stochastic pooling).
    Differs: STOCHASTIC works on the CPU too.

    Example: conv1 (2, 16, 32, 32) -> pool1 (2, 16, 16, 16)
        layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
          pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
    """

    tops = (1, 2)

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.pooling_param
        self.refuse_fork_fields(param, ("ceil_mode",))
        if param.pool not in (MAX, AVE, STOCHASTIC):
            name = PoolingParameter.PoolMethod.Name(param.pool)
            self.error(
                f"pool: expected MAX, AVE or STOCHASTIC, got {name}, a fork's. Use one of these."
            )
        if len(top) > 1 and param.pool != MAX:
            self.error("expected 1 top, got 2: only MAX has a mask. Remove the second top.")
        if param.global_pooling:
            self._refuse_sizes_of_global_pooling()
            self.stride, self.pad = (1, 1), (0, 0)
        else:
            self.kernel = self._pair("kernel_size", "kernel", 1)
            self.stride = self._pair("stride", "stride", 1)
            self.pad = self._pair("pad", "pad", 0)
        if any(self.pad) and param.pool == STOCHASTIC:
            self.error(
                "pad: expected 0 for STOCHASTIC pooling, got "
                f"{self.pad}. Remove it, or take MAX or AVE."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        if not super().reshape(bottom, top):
            return False
        shape = bottom[0].shape
        if len(shape) != 4:
            self.shape_error(
                f"bottom '{bottom[0].name}'",
                "4 axes (N, C, H, W)",
                f"shape {shape}",
                "Put the pooling before layers that flatten, or reshape the blob to 4 axes.",
            )
        param = self.param.pooling_param
        if param.global_pooling:
            self.kernel = shape[2:]
        geometry = PoolingGeometry(
            shape,
            PoolingParameter.PoolMethod.Name(param.pool),
            self.kernel,
            self.stride,
            self.pad,
            ceil=param.round_mode == PoolingParameter.CEIL and param.ceil_mode,
        )
        self._check_windows(bottom[0].name, geometry)
        for blob in top:
            blob.reshape(geometry.out_shape)
        if param.pool == STOCHASTIC:
            stream = self.stream("pooling")
            self.stochastic = self.ops.stochastic_pooling(geometry, stream, self.context.passes)
        else:
            self.op = self.ops.pooling(geometry)
        return True

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        x, y = bottom[0].data, top[0].data
        if self.param.pooling_param.pool != STOCHASTIC:
            self.op.forward(x, out=y, mask=top[1].data if len(top) > 1 else None)
        elif self.training:
            self.stochastic.forward_train(x, out=y)
        else:
            self.stochastic.forward_test(x, out=y)

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        if not propagate_down[0]:
            return
        if self.param.pooling_param.pool != STOCHASTIC:
            self.op.backward(top[0].diff, bottom[0].data, out=bottom[0].diff)
        elif self.training:
            self.stochastic.backward(top[0].diff, bottom[0].data, out=bottom[0].diff)
        else:
            self.refuse_backward(propagate_down, "STOCHASTIC pooling has one in phase TRAIN only")

    def _refuse_sizes_of_global_pooling(self) -> None:
        param = self.param.pooling_param
        for name in ("kernel_size", "kernel_h", "kernel_w"):
            if param.HasField(name):
                self.error(
                    f"{name}: expected none with global_pooling, whose window is the whole plane, "
                    f"got {getattr(param, name)}. Remove one of them."
                )
        for name, neutral in (("pad", 0), ("stride", 1)):
            for field in (name, f"{name}_h", f"{name}_w"):
                if param.HasField(field) and getattr(param, field) != neutral:
                    self.error(
                        f"{field}: expected {neutral} with global_pooling, got "
                        f"{getattr(param, field)}. Remove it."
                    )

    def _pair(self, name: str, short: str, least: int) -> tuple[int, int]:
        """(h, w) from the field `name`, or from fields `short`_h and `short`_w."""
        param = self.param.pooling_param
        pair = f"{short}_h", f"{short}_w"
        if any(param.HasField(field) for field in pair):
            if param.HasField(name):
                self.error(f"expected {name} or {pair[0]} and {pair[1]}, got both. Remove one.")
            sizes = getattr(param, pair[0]), getattr(param, pair[1])
        else:
            sizes = (getattr(param, name),) * 2
        if min(sizes) < least:
            self.error(
                f"{name}: expected at least {least} (height, width), got {sizes}. Set {name}, or "
                f"both {pair[0]} and {pair[1]}."
            )
        return sizes

    def _check_windows(self, name: str, geometry: PoolingGeometry) -> None:
        """Raises: NetError, ShapeError where a window would cover nothing of the image, or so much
        around it that it is surely a mistake."""
        if 0 in geometry.shape[2:]:
            self.shape_error(
                f"bottom '{name}'",
                "images of at least 1 x 1 pixels",
                f"shape {geometry.shape}",
                "Correct the sizes that lead to it.",
            )
        for size, kernel, stride, pad, out in zip(
            geometry.shape[2:],
            geometry.kernel,
            geometry.stride,
            geometry.pad,
            geometry.out_size,
            strict=True,
        ):
            if pad >= kernel:
                self.error(f"pad: expected less than the kernel ({kernel}), got {pad}. Reduce it.")
            if out < 1:
                self.shape_error(
                    f"bottom '{name}' of shape {geometry.shape}",
                    f"at least {kernel} pixels for the kernel",
                    f"{size + 2 * pad} ({size} and twice pad {pad})",
                    "Take a smaller kernel, more pad, or bigger images.",
                )
            if (out - 1) * stride - pad >= size:
                self.shape_error(
                    f"bottom '{name}' of shape {geometry.shape}",
                    "each window to begin inside the image",
                    f"one at pixel {(out - 1) * stride - pad} of {size}",
                    "Take a smaller stride, or round_mode: FLOOR.",
                )
        if math.prod(geometry.padded_size) > MAX_COUNT:
            self.error(
                f"kernel_size: expected a padded image of at most {MAX_COUNT} pixels, got "
                f"{geometry.padded_size}. Take a smaller kernel and less pad."
            )
