"""caffe.io.Transformer: from an image to a net's input, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.core.storage import Shape
from caffepy.pycaffe.resampling import resize_image


class Transformer:
    """Makes images into inputs of a net.

        transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
        transformer.set_transpose("data", (2, 0, 1))      # (H, W, K) to (K, H, W)
        transformer.set_channel_swap("data", (2, 1, 0))   # RGB to BGR
        transformer.set_raw_scale("data", 255)            # pixels 0 to 1 to 0 to 255
        transformer.set_mean("data", mean)                # subtracted; in BGR, 0 to 255
        net.blobs["data"].data[...] = transformer.preprocess("data", image)

    inputs: the name of each input with its shape (N, K, H, W).
    transpose, channel_swap, raw_scale, mean, input_scale: what was set, by name of the input.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """The input of a net, (K, H, W) float32, from an image (H', W', K).

        In this order, as far as they are set: resized to the input's height and width, axes
        transposed, channels swapped, times raw_scale, minus mean, times input_scale.
        Differs: the image is left as it is, where pycaffe writes into it.
        Raises: ValueError for a name that is no input, or an image that does not fit.
        """
        shape = self._shape(in_)
        values = np.array(data, np.float32)
        if values.shape[:2] != shape[2:]:
            values = resize_image(values, shape[2:])
        if in_ in self.transpose:
            values = values.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            if len(values) < shape[1]:
                self._refuse_channels(in_, values)
            values = values[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            values *= self.raw_scale[in_]
        if in_ in self.mean:
            if len(values) != shape[1]:
                self._refuse_channels(in_, values)
            values -= self.mean[in_]
        if in_ in self.input_scale:
            values *= self.input_scale[in_]
        return values

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """The image that an input of a net was made from, but for its size; see preprocess.

        data: (K, H, W), or (1, K, H, W).
        Raises: ValueError for a name that is no input.
        """
        axes = len(self._shape(in_)) - 1
        values = data.squeeze()
        if values.ndim < axes and in_ in self.transpose:  # an axis of the image itself is 1
            values = data.reshape(data.shape[-axes:])
        values = values.astype(data.dtype if data.dtype.kind == "f" else np.float32)
        if in_ in self.input_scale:
            values /= self.input_scale[in_]
        if in_ in self.mean:
            values += self.mean[in_]
        if in_ in self.raw_scale:
            values /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            values = values[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            values = values.transpose(np.argsort(self.transpose[in_]))
        return values

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """The image's axes in the order of the input's: (2, 0, 1) for (H, W, K) to (K, H, W)."""
        axes = len(self._shape(in_)) - 1
        if len(order) != axes:
            raise ValueError(
                f"set_transpose: order: Transpose order needs to have the same number of "
                f"dimensions as the input '{in_}': expected {axes}, got {len(order)}."
            )
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """The channels in the order of the input's, after transpose: (2, 1, 0) for RGB to BGR."""
        channels = self._shape(in_)[1]
        if len(order) != channels:
            raise ValueError(
                f"set_channel_swap: order: Channel swap needs to have the same number of "
                f"dimensions as the input channels: '{in_}' has {channels}, got {len(order)}."
            )
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """A factor on the image before the mean is subtracted: 255 for pixels that are 0 to 1."""
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: np.ndarray) -> None:
        """What is subtracted: one value a channel, (K), or one a pixel, (K, H, W).

        One of another height and width is resized.
        Raises: ValueError where it is no array, or its shape fits no image of the input.
        """
        shape = self._shape(in_)
        if isinstance(mean, str | os.PathLike):
            raise ValueError(
                f"set_mean: expected an array, got the name '{os.fspath(mean)}'. Load the file: "
                "np.load for .npy, caffe.io.blobproto_to_array for .binaryproto."
            )
        mean = np.asarray(mean)
        if mean.ndim == 1:
            if mean.shape[0] != shape[1]:
                raise ValueError(
                    f"set_mean: Mean channels incompatible with input: '{in_}' has {shape[1]} "
                    f"channels, got {mean.shape[0]} values. Give one value a channel."
                )
            self.mean[in_] = mean[:, np.newaxis, np.newaxis]
            return
        planes = mean[np.newaxis] if mean.ndim == 2 else mean
        if planes.ndim != 3:
            raise ValueError(
                f"set_mean: Mean shape invalid: expected (channels), (height, width) or (channels, "
                f"height, width), got {mean.shape}. Take mean[0] of a mean with an axis for images."
            )
        if planes.shape[0] not in (1, shape[1]):
            raise ValueError(
                f"set_mean: Mean channels incompatible with input: '{in_}' has {shape[1]} "
                f"channels, got {planes.shape[0]}. Take the mean that belongs to this net."
            )
        if planes.shape[1:] != shape[2:]:
            mean = resize_image(planes.transpose(1, 2, 0), shape[2:]).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """A factor on the input after the mean is subtracted."""
        self._shape(in_)
        self.input_scale[in_] = scale

    def _shape(self, in_: str) -> Shape:
        """The input's shape. Raises: ValueError where there is none of this name."""
        if in_ not in self.inputs:
            raise ValueError(
                f"Transformer: '{in_}' is not one of the net inputs: {dict(self.inputs)}. Name one "
                "of these."
            )
        return tuple(self.inputs[in_])

    def _refuse_channels(self, in_: str, values: np.ndarray) -> NoReturn:
        raise ValueError(
            f"preprocess: data: expected {self._shape(in_)[1]} channels first, as '{in_}' has, got "
            f"shape {values.shape}. Call set_transpose('{in_}', (2, 0, 1)) for an image (height, "
            "width, channels); load_image gives 3 channels, with color=False 1."
        )


def image_transformer(
    in_: str,
    shape: Shape,
    mean: np.ndarray | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> Transformer:
    """A Transformer for one input that takes images, with what is not None set.

    Raises: ShapeError where the input's shape is not (N, K, H, W).
    """
    if len(shape) != 4:
        raise ShapeError(
            f"input '{in_}': expected shape (N, K, H, W) for images, got {shape}. Take a net whose "
            "first input takes images."
        )
    transformer = Transformer({in_: shape})
    transformer.set_transpose(in_, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(in_, mean)
    if input_scale is not None:
        transformer.set_input_scale(in_, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(in_, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(in_, channel_swap)
    return transformer
