"""ImageData: batches of image files that a list names."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError
from caffepy.engine.core.layer import Blobs
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.image_list import ImageList
from caffepy.engine.data.image_source import ImageSource
from caffepy.engine.data.pipeline import Batch
from caffepy.engine.data.prefetching_layer import PrefetchingDataLayer
from caffepy.proto.caffe_pb2 import ImageDataParameter

_MOVED = ("scale", "mean_file", "crop_size", "mirror")
_HARMLESS = ("threads", "cache", "precache")  # of forks; they change no number


@register_layer("ImageData")
class ImageDataLayer(PrefetchingDataLayer[Batch]):
    """Images of a list, transformed; after the last comes the first again.

    top[0]: (batch_size, C, H, W) float, images, BGR   top[1]: (batch_size,) float, labels
    image_data_param: source: a text file with an image file and a whole number as label on each
    line; root_folder (''): put before every name as it is, so end it with /; batch_size (1);
    shuffle (false): with true another order in every epoch; rand_skip (0): else start at a random
    one of the first so many images; new_height (0), new_width (0): 0 leaves sizes as they are;
    is_color (true): 3 channels, else 1; scale (1), mean_file (none), crop_size (0), mirror (false):
    old place, see transform_param
    data_param: prefetch (4): batches made ahead; the others: of no effect
    transform_param: see engine/data/transformer.py

    Files are relative to the working directory, or else to the folder of the prototxt. The first
    image of a batch gives its shape; all images of a batch must have one.

    Raises: DataError where the list or an image is missing or does not fit, naming file and line;
    NetError for parameters that make no sense.
    Differs: Caffe takes the label 0 where a line has none, and cuts 3.5 to 3; here both are
    refused. The random orders are other ones than Caffe's.
    Source: Caffe's layer catalogue, ImageData.

    Example: -> data (4, 3, 8, 8), label (4)
        layer { name: "data" type: "ImageData" top: "data" top: "label"
          transform_param { crop_size: 8 mirror: true }
          image_data_param { source: "train.txt" batch_size: 4 shuffle: true } }
    """

    tops = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.image_data_param
        self._check(param)
        feed = self.make_feed()
        if feed.transformer.color is not None:
            log.warning(f"{self.where}: force_color and force_gray do nothing here; is_color does.")
        path = self.find_file(param.source, "image_data_param.source")
        log.info(f"Opening file {path}")
        try:
            self._listed = ImageList(path)
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from None
        if param.shuffle:
            log.info("Shuffling data")
        log.info(f"A total of {len(self._listed)} images.")
        skip = self.random_skip(param.rand_skip)
        if skip >= len(self._listed):
            self.error(
                f"image_data_param.rand_skip: expected at most {len(self._listed)}, the number of "
                f"images in '{path}', got {param.rand_skip}. Make it smaller."
            )
        self._check_root(param.root_folder)
        source = ImageSource(
            self._listed,
            feed,
            self.find_file,
            root=param.root_folder,
            size=(param.new_height, param.new_width) if param.new_height else None,
            color=param.is_color,
            skip=skip,
            order=self.sample_stream("shuffle") if param.shuffle else None,
        )
        self.start(top, source, param.batch_size, source.first_shape())

    def state(self) -> dict[str, Any]:
        return {**super().state(), "images": len(self._listed)}

    def restore(self, state: dict[str, Any]) -> None:
        if state["images"] != len(self._listed):
            log.warning(
                f"{self.where}: '{self._listed.path}' has {len(self._listed)} images, and had "
                f"{state['images']} when the snapshot was made: the order is another one from here."
            )
        super().restore(state)

    def _check(self, param: ImageDataParameter) -> None:
        self.check_batch_size("image_data_param")
        for name in _MOVED:
            if param.HasField(name):
                self.error(
                    f"image_data_param.{name}: this is its place in old nets (`layers`), from "
                    f"which Caffe does not read it either. Write it as transform_param.{name}."
                )
        self.refuse_fork_fields(param, _HARMLESS)
        if bool(param.new_height) != bool(param.new_width):
            self.error(
                "image_data_param: expected new_height and new_width, or neither, got new_height "
                f"{param.new_height}, new_width {param.new_width}. Give both."
            )

    def _check_root(self, root: str) -> None:
        """Refuses a root_folder that only lacks the / at its end."""
        if not root or root.endswith(("/", "\\")):
            return
        name = self._listed.name(0)
        for folder in self.context.folders:
            if not (folder / (root + name)).exists() and (folder / root / name).exists():
                self.error(
                    f"image_data_param.root_folder: expected '{root}/', since it is put before "
                    f"names as it is and '{root}/{name}' exists, got '{root}'. Add the /."
                )
