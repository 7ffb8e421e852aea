"""WindowData: batches of windows of image files, objects and background, as R-CNN trains from."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.pipeline import Batch
from caffepy.engine.data.prefetching_layer import PrefetchingDataLayer
from caffepy.engine.data.window_list import CHANNELS, WindowList
from caffepy.engine.data.window_source import WindowSource
from caffepy.proto.caffe_pb2 import WindowDataParameter

_MOVED = ("mean_file", "crop_size", "mirror")
_MODES = ("warp", "square")
_READ = {"mirror", "crop_size", "mean_file", "mean_value"}


@register_layer("WindowData")
class WindowDataLayer(PrefetchingDataLayer[Batch]):
    """Windows drawn at random from those that a file lists, cut out and warped to one size.

    top[0]: (batch_size, 3, crop_size, crop_size) float, images, BGR   top[1]: (batch_size,) float,
    labels, 0 for the background
    window_data_param: source: the window file; batch_size;
    fg_threshold (0.5): overlap from which a window is foreground; bg_threshold (0.5): overlap below
    which it is background; fg_fraction (0.25): share of foreground windows in a batch, which
    come last; context_pad (0): pixels of the result around what the file names;
    crop_mode (warp): warp, or square: the window is made square before; cache_images (false): all
    files are kept in memory; root_folder (''): put before every name as it is, so end it with /;
    scale (1): factor after the mean is subtracted; mean_file (none), crop_size (0), mirror (false):
    old place, see transform_param
    data_param: prefetch (4): batches made ahead; the others: of no effect
    transform_param: crop_size; mirror (false): half of the windows, at random; mean_file (none):
    binaryproto or .npy of 3 channels, of which the middle is taken; mean_value (none): in its place
    one number, or one per channel; the others: of no effect

    The window file has for each image a line `# 0` with its number, a line with the file, three
    with channels, height and width, one with the number of windows, and one for each window:
    label, overlap with an object, x1, y1, x2, y2, the edges being part of it.

    What of a window and its context lies outside of the image is 0.

    Raises: DataError where the window file or an image is missing or a window does not fit, naming
    file and line; NetError for parameters that make no sense.
    Differs: the random choices are other ones than Caffe's. As in Caffe transform_param.scale does
    nothing, but the log says so.
    Source: Caffe's layer catalogue, Windows. R. Girshick et al., "Rich feature hierarchies for
    accurate object detection and semantic segmentation", CVPR 2014.

    Example: -> data (4, 3, 8, 8), label (4)
        layer { name: "data" type: "WindowData" top: "data" top: "label"
          transform_param { crop_size: 8 mirror: true }
          window_data_param { source: "windows.txt" batch_size: 4 fg_fraction: 0.5 } }
    """

    tops = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.window_data_param
        self._check(param)
        transformer = self.make_feed().transformer
        if transformer.augmentation is not None:
            self.error(
                "transform_param: expected crop_size, mirror and a mean only, got fields that "
                "change sizes or colours. Remove them: windows are warped to crop_size."
            )
        size = transformer.crop[0]
        path = self.find_file(param.source, "window_data_param.source")
        log.info(
            f"Window data layer:\n  foreground (object) overlap threshold: {param.fg_threshold:g}\n"
            f"  background (non-object) overlap threshold: {param.bg_threshold:g}\n"
            f"  foreground sampling fraction: {param.fg_fraction:g}\n"
            f"  cache_images: {param.cache_images:d}\n  root_folder: {param.root_folder}"
        )
        foreground = int(np.float32(param.batch_size) * np.float32(param.fg_fraction))
        try:
            listed = WindowList(path, param.fg_threshold, param.bg_threshold)
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from None
        self._log(listed, param)
        for kind, wanted, windows in (
            ("foreground", foreground, listed.foreground),
            ("background", param.batch_size - foreground, listed.background),
        ):
            if wanted and not len(windows):
                raise DataError(
                    f"{self.where}: '{path}': expected {kind} windows, of which each batch has "
                    f"{wanted}, got none. Change the thresholds or fg_fraction, or add windows."
                )
        source = WindowSource(
            listed,
            transformer,
            self.sample_stream("windows"),
            self.find_file,
            scale=param.scale,
            foreground=foreground,
            context_pad=param.context_pad,
            square=param.crop_mode == "square",
            root=param.root_folder,
            cache=param.cache_images,
        )
        self.start(top, source, param.batch_size, (CHANNELS, size, size))

    def _log(self, listed: WindowList, param: WindowDataParameter) -> None:
        """Caffe's lines about what was read."""
        log.info(f"Number of images: {len(listed.names)}")
        labels = np.concatenate([listed.background[:, 1], listed.foreground[:, 1]])
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            log.info(f"class {label} has {count} samples")
        log.info(f"Amount of context padding: {param.context_pad}")
        log.info(f"Crop mode: {param.crop_mode}")

    def _check(self, param: WindowDataParameter) -> None:
        self.check_batch_size("window_data_param")
        transform = self.param.transform_param
        for name in _MOVED:
            if param.HasField(name):
                self.error(
                    f"window_data_param.{name}: this is its place in old nets (`layers`), from "
                    f"which Caffe does not read it either. Write it as transform_param.{name}."
                )
        if not transform.crop_size:
            self.error(
                "transform_param.crop_size: expected the height and width of the results, got 0. "
                "Set it."
            )
        for field, value in transform.ListFields():
            if field.name not in _READ and value != field.default_value:
                remedy = " Use window_data_param.scale." if field.name == "scale" else ""
                log.warning(
                    f"{self.where}: transform_param.{field.name} does nothing here.{remedy}"
                )
        if param.crop_mode not in _MODES:
            self.error(
                f"window_data_param.crop_mode: expected {' or '.join(_MODES)}, got "
                f"'{param.crop_mode}'. Choose one."
            )
        if 2 * param.context_pad >= transform.crop_size:
            self.error(
                "window_data_param.context_pad: expected less than half of crop_size "
                f"{transform.crop_size}, got {param.context_pad}. Make it smaller."
            )
        if not 0 <= param.fg_fraction <= 1:
            self.error(
                "window_data_param.fg_fraction: expected 0 to 1, got "
                f"{param.fg_fraction:g}. Correct it."
            )
