"""What is done to images of bytes on their way into a net, on a GPU."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps


class CudaTransform(CudaOp):
    """(image - mean) * scale of images of bytes, cropped and mirrored."""

    family = "transform"

    def __init__(self, ops: DeviceOps, mean: np.ndarray | None = None, scale: float = 1.0) -> None:
        super().__init__(ops)
        self.scale = scale
        plain = np.zeros((1, 1, 1)) if mean is None else mean
        self._mean = Value(plain.shape, ops.dtype)
        self._mean.write()[...] = plain
        channels, height, width = plain.shape
        per_pixel = (height, width) != (1, 1)
        # from one channel, row and column of the images to the next
        self._steps = (
            height * width if channels > 1 else 0,
            width if per_pixel else 0,
            1 if per_pixel else 0,
        )

    @step(reads="pixels choices", writes="out")
    def forward(self, pixels: Value, choices: Value, *, out: Value) -> None:
        """pixels: (M, C, H, W) uint8, of out's height and width where they are cropped already.
        choices: (N, 4) int32, for each image of `out` its number among the M, its top and left in
        the image before that was cropped, and whether it is mirrored.  out: (N, C, h, w)."""
        cropped = pixels.shape[2:] == out.shape[2:]
        sizes = (*out.shape[1:], *pixels.shape[2:], cropped)
        parts = pixels, choices, self._mean, out
        self.launch("transform", out.count, *sizes, *self._steps, self.scale, *parts)
