"""HDF5Output: writes its bottoms to an HDF5 file, row after row."""

from __future__ import annotations

from pathlib import Path

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.hdf5 import RowWriter

_DATASETS = ("data", "label")


@register_layer("HDF5Output")
class HDF5OutputLayer(Layer):
    """Writes samples to an HDF5 file; each forward pass adds its batch to those before.

    bottom[0]: (N, ...) the rows of the dataset `data`   bottom[1]: (N, ...) those of `label`
    hdf5_output_param: file_name: the file, relative to the working directory

    As in Caffe, rows have four axes: (N, ...) is written as (N, ..., 1, 1). The first forward pass
    replaces a file of that name; what is written by the end of a pass is in the file.

    Raises: NetError for a missing file_name, ShapeError where the numbers of samples differ,
    DataError where the file cannot be written, or samples change their shape.
    Differs: Caffe ends the program at the second forward pass, and replaces the file as soon as the
    net is built.
    Source: Caffe's layer catalogue, HDF5 Output.

    Example: data (4, 3), label (4) ->
        layer { name: "out" type: "HDF5Output" bottom: "data" bottom: "label"
          hdf5_output_param { file_name: "out.h5" } }
    """

    bottoms = 2
    tops = 0
    records = False

    _writer: RowWriter | None = None
    _closed = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        name = self.param.hdf5_output_param.file_name
        if not name:
            self.error("hdf5_output_param.file_name: expected the name of a file. Set it.")
        self._path = Path(name)
        if self._path.is_dir() or not self._path.parent.is_dir():  # not after hours of training
            raise DataError(
                f"{self.where}: hdf5_output_param.file_name: expected a file in a folder that "
                f"exists, got '{name}'. Make the folder, or name another file."
            )

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        changed = super().reshape(bottom, top)
        data, label = bottom
        if changed and (not data.num_axes or data.shape[:1] != label.shape[:1]):
            self.shape_error(
                f"bottom '{label.name}'",
                f"as many samples in axis 0 as '{data.name}' of shape {data.shape} has",
                f"shape {label.shape}",
                "Give every sample its label.",
            )
        return changed

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        if self._closed:  # it would replace what it wrote
            self.error("expected a net that is open, got one that was closed. Open it again.")
        arrays = {}
        for name, blob in zip(_DATASETS, bottom, strict=True):
            shape = blob.shape + (1,) * (4 - blob.num_axes)
            arrays[name] = blob.data.read().reshape(shape)
        log.info(f"Saving HDF5 file {self._path}")
        if self._writer is None:
            self._writer = RowWriter(self._path, self.where)
        self._writer.add(arrays)
        log.info(f"Successfully saved {bottom[0].shape[0]} rows")

    def close(self) -> None:
        self._closed = True
        if self._writer is not None:
            self._writer.close()
