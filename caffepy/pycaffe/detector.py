"""caffe.Detector: a net that says what is in windows of images, R-CNN's way."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DataError, DeviceError
from caffepy.engine.pynet import Net
from caffepy.proto.caffe_pb2 import TEST
from caffepy.pycaffe import io
from caffepy.pycaffe.transformer import image_transformer

FileName = str | os.PathLike[str]
Window = Sequence[float] | np.ndarray  # ymin, xmin, ymax, xmax in pixels


class Detector(Net):
    """A net of a deploy.prototxt whose first input takes images, run on windows of larger ones.

    transformer: makes windows into inputs.  crop_dims: shape (H, W, K) of the net's input.
    context_pad: how many pixels of the net's input show what is around a window.
    crop_mean: what is put where that is outside the image.
    Source: python/caffe/detector.py; Girshick et al., arXiv:1311.2524.
    """

    def __init__(
        self,
        model_file: FileName,
        pretrained_file: FileName,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        """mean, input_scale, raw_scale, channel_swap: see caffe.io.Transformer.

        Raises: as Net; ValueError and ShapeError where the net's input does not fit these.
        """
        super().__init__(model_file, TEST, weights=pretrained_file)
        in_ = self.inputs[0]
        self.transformer = image_transformer(
            in_, self.blobs[in_].shape, mean, input_scale, raw_scale, channel_swap
        )
        self.configure_crop(context_pad)

    def detect_windows(
        self, images_windows: Iterable[tuple[FileName, Sequence[Window]]]
    ) -> list[dict[str, Any]]:
        """Runs the net on windows of images, each resized to the net's input.

        images_windows: files of images with their windows (ymin, xmin, ymax, xmax).
        Returns: a dict for each window in turn: `window`, `prediction` (the first output for it),
            `filename`.
        Raises: DataError where a file is no image, or a window is outside of it.
        """
        found: list[dict[str, Any]] = []
        crops = []
        in_ = self.inputs[0]
        for filename, windows in images_windows:
            image = io.load_image(filename)
            for window in windows:
                self._check_window(image, window, filename)
                crops.append(self.transformer.preprocess(in_, self.crop(image, window)))
                found.append({"window": window, "prediction": None, "filename": filename})
        if found:
            predictions = self.forward_all(**{in_: np.stack(crops)})[self.outputs[0]]
            for detection, prediction in zip(found, predictions, strict=True):
                detection["prediction"] = prediction
        return found

    def detect_selective_search(self, image_fnames: Iterable[FileName]) -> list[dict[str, Any]]:
        """detect_windows on the windows that Selective Search proposes.

        Raises: DeviceError where the module for it, which calls MATLAB, is missing.
        """
        try:
            import selective_search_ijcv_with_python as selective_search
        except ImportError as error:
            raise DeviceError(
                f"detect_selective_search: the module selective_search_ijcv_with_python is missing "
                f"({error}). Put it into PYTHONPATH, or give windows of your own to detect_windows."
            ) from None
        files = [os.path.abspath(name) for name in image_fnames]  # for MATLAB
        return self.detect_windows(zip(files, selective_search.get_windows(files)))

    def crop(self, im: np.ndarray, window: Window) -> np.ndarray:
        """A window of an image (H, W, K): its pixels, or with context_pad what the net's input is
        to show, (crop_dims)."""
        box = np.array([int(edge) for edge in window])
        if not self.context_pad:
            return im[box[0] : box[2], box[1] : box[3]]
        size = int(self.crop_dims[1])  # Caffe's: the input is square
        half = (box[2:] - box[:2] + 1) / 2
        around = half * size / (size - 2 * self.context_pad)
        center = box[:2] + half
        low, high = np.round(center - around), np.round(center + around)
        scale = size / (high - low + 1)
        pad = np.round(np.maximum(0, -low) * scale)
        edges = np.array(im.shape[:2])
        low, high = np.clip(low, 0, edges), np.clip(high, 0, edges)
        shown = np.minimum(np.round((high - low + 1) * scale), size - pad).astype(int)
        top, left = pad.astype(int)
        (ymin, xmin), (ymax, xmax) = low.astype(int), high.astype(int)
        crop = np.ones(self.crop_dims, np.float32) * self.crop_mean
        crop[top : top + shown[0], left : left + shown[1]] = io.resize_image(
            im[ymin:ymax, xmin:xmax], shown
        )
        return crop

    def configure_crop(self, context_pad: int | None) -> None:
        """Sets context_pad, and crop_dims and crop_mean by the net's input and the transformer.

        Raises: ValueError where the padding leaves nothing of the input.
        """
        in_ = self.inputs[0]
        channels, height, width = self.blobs[in_].shape[1:]
        self.crop_dims = np.array((height, width, channels))
        self.context_pad = context_pad
        self.crop_mean = np.zeros(self.crop_dims, np.float32)
        if not context_pad:
            return
        if 2 * context_pad >= width:
            raise ValueError(
                f"Detector: context_pad: expected less than half the width of the net's input, "
                f"{width}, got {context_pad}. Take a smaller one."
            )
        mean = self.transformer.mean.get(in_)
        if mean is not None:  # back to the channels and the scale of images
            crop_mean = np.array(mean.reshape(-1, *mean.shape[-2:]), np.float32)
            if in_ in self.transformer.channel_swap:
                crop_mean = crop_mean[np.argsort(self.transformer.channel_swap[in_])]
            crop_mean = crop_mean / self.transformer.raw_scale.get(in_, 1.0)
            self.crop_mean = np.broadcast_to(crop_mean.transpose(1, 2, 0), self.crop_dims)

    def _check_window(self, image: np.ndarray, window: Window, filename: FileName) -> None:
        """Raises: DataError where there is no pixel of the image in the window."""
        height, width = image.shape[:2]
        edges = [int(edge) for edge in window]
        inside = len(edges) == 4 and 0 <= edges[0] < edges[2] <= height
        if not inside or not 0 <= edges[1] < edges[3] <= width:
            raise DataError(
                f"'{os.fspath(filename)}': window {tuple(window)}: expected 0 <= ymin < ymax <= "
                f"{height} and 0 <= xmin < xmax <= {width}, in this order (ymin, xmin, ymax, xmax)."
                " Correct the window, or clip it to the image."
            )
