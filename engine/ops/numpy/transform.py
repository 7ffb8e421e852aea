"""What is done to images of bytes on their way into a net, on numpy: the reference."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops


class Transform(Op):
    """(image - mean) * scale of images of bytes, cropped and mirrored.

    mean: (C, H, W), of the images before they are cropped, or (C, 1, 1), or (1, 1, 1); None: 0.
    """

    def __init__(self, ops: Ops, mean: np.ndarray | None = None, scale: float = 1.0) -> None:
        super().__init__(ops)
        self.mean = None if mean is None else mean.astype(ops.dtype)
        self.scale = ops.dtype.type(scale)

    @step(reads="pixels choices", writes="out")
    def forward(self, pixels: Value, choices: Value, *, out: Value) -> None:
        """pixels: (M, C, H, W) uint8, of out's height and width where they are cropped already.
        choices: (N, 4) int32, for each image of `out` its number among the M, its top and left in
        the image before that was cropped, and whether it is mirrored.  out: (N, C, h, w)."""
        images, target, mean = pixels.read(), out.write(), self.mean
        height, width = out.shape[2:]
        cropped = pixels.shape[2:] == out.shape[2:]
        for row, (number, top, left, mirrored) in zip(target, choices.read().tolist(), strict=True):
            window = slice(None), slice(top, top + height), slice(left, left + width)
            image = images[number].astype(out.dtype) if cropped else images[number][window]
            if mean is not None:
                image = image - (mean if mean.shape[1:] == (1, 1) else mean[window])
            row[...] = image[:, :, ::-1] if mirrored else image
        target *= self.scale
