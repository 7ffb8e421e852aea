"""HDF5Data: batches of rows from HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError
from caffepy.engine.core.layer import Blobs, Layer
from caffepy.engine.core.random import Stream
from caffepy.engine.core.registry import register_layer
from caffepy.engine.data.hdf5 import read_rows


@register_layer("HDF5Data")
class HDF5DataLayer(Layer):
    """Rows of HDF5 datasets, file after file, again from the start when all are through.

    top[i]: (batch_size, ...) float, the rows of the dataset that is named like the top
    hdf5_data_param: source: a text file with the path of one HDF5 file a line; batch_size; shuffle
    (false): with true the order of files, and of rows within each file, differs from epoch to epoch

    One file is in memory at a time. Paths are relative to the working directory, or else to the
    folder of the prototxt.

    Raises: DataError where the list, a file or a dataset is missing or unfit, naming it; NetError
    for transform_param, which this layer does not have.
    Source: Caffe's layer catalogue, HDF5 Input.

    Example: -> data (4, 3), label (4)
        layer { name: "data" type: "HDF5Data" top: "data" top: "label"
          hdf5_data_param { source: "train_h5.txt" batch_size: 4 } }
    """

    bottoms = 0
    tops = (1, None)
    records = False

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        param = self.param.hdf5_data_param
        if self.param.HasField("transform_param"):
            self.error(
                "transform_param: HDF5Data does not transform its data. Remove it, and scale and "
                "crop the data before it is written."
            )
        if param.batch_size == 0:
            self.error("hdf5_data_param.batch_size: expected at least 1, got 0. Set it.")
        # keyed without the rank: all ranks must agree on one order
        seed = self.context.seed
        self._file_order = Stream(seed, self.key, "shuffle files")
        self._row_order = Stream(seed, self.key, "shuffle rows")
        self._files = self._listed(self.find_file(param.source, "hdf5_data_param.source"))
        for name, line in self._files:  # also those that a run reaches after hours
            self.find_file(name, line)
        log.info(f"Number of HDF5 files: {len(self._files)}")
        self._loaded: Path | None = None
        self._epoch, self._place, self._row, self._sample = 0, 0, 0, 0
        self._given: list[tuple[Path | None, Any]] = []  # files and rows of the batch
        self._load()
        for blob, rows in zip(top, self._datasets, strict=True):
            blob.reshape((param.batch_size, *rows.shape[1:]))

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        batch_size = self.param.hdf5_data_param.batch_size
        if self._loaded is None:  # the pass before could not read it
            self._load()
        outputs = []
        for blob, rows in zip(top, self._datasets, strict=True):
            blob.reshape((batch_size, *rows.shape[1:]))
            outputs.append(blob.data.write())
        filled, self._given = 0, []
        while filled < batch_size:
            if self._row == self._rows:
                self._next_file()
                for blob, rows in zip(top, self._datasets, strict=True):
                    if rows.shape[1:] != blob.shape[1:]:
                        self._refuse_shape(blob.name, rows.shape, blob.shape)
            taken = min(batch_size - filled, self._rows - self._row)
            here = slice(self._row, self._row + taken)
            for output, rows in zip(outputs, self._datasets, strict=True):
                output[filled : filled + taken] = rows[
                    here if self._order is None else self._order[here]
                ]
            order = range(self._rows) if self._order is None else self._order
            self._given.append((self._loaded, order[here]))
            filled += taken
            self._row += taken
        self._sample += batch_size

    def describe_sample(self, top_index: int, index: int) -> str:
        for path, rows in self._given:
            if index < len(rows):
                dataset = self.param.top[top_index]
                return f"row {rows[index]}, counted from 0, of dataset '{dataset}' of '{path}'"
            index -= len(rows)
        return ""

    def state(self) -> dict[str, Any]:
        return {
            "sample": self._sample,
            "epoch": self._epoch,
            "file": self._place,
            "row": self._row,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises: DataError where the files are not those of the snapshot."""
        self._epoch, self._place, self._row = state["epoch"], state["file"], state["row"]
        self._sample = state["sample"]
        if self._place < len(self._files):
            self._load()
        if self._place >= len(self._files) or self._row > self._rows:
            raise DataError(
                f"{self.where}: '{self.param.hdf5_data_param.source}': the snapshot stands at row "
                f"{self._row} of file {self._place}, which does not exist. Resume with the files "
                "that the snapshot was made with."
            )

    def _listed(self, source: Path) -> list[tuple[str, str]]:
        """(path as written, place in the list) for every line of the list."""
        log.info(f"Loading list of HDF5 filenames from: {source}")
        reason: str | None = None
        try:  # names need be no UTF-8
            text = source.read_text(encoding="utf-8-sig", errors="surrogateescape")
        except OSError as error:
            reason = error.strerror
        else:
            reason = "it is no text" if "\0" in text else None
        if reason:
            raise DataError(
                f"{self.where}: hdf5_data_param.source: expected a text file with one path a line, "
                f"got '{source}': {reason}. Write the paths of the HDF5 files into such a list."
            )
        files = [
            (line.strip(), f"'{source}', line {number}")
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip()
        ]
        if not files:
            raise DataError(
                f"{self.where}: hdf5_data_param.source: expected at least one HDF5 file in "
                f"'{source}', got none. Write one path a line."
            )
        return files

    def _next_file(self) -> None:
        """Goes to the next file of the epoch, or to the first of the next epoch."""
        self._row = 0
        self._place += 1
        if self._place == len(self._files):
            self._place = 0
            self._epoch += 1
        self._load()

    def _load(self) -> None:
        """Makes the file at `_place` of this epoch the current one, unless it is already loaded."""
        shuffle, count = self.param.hdf5_data_param.shuffle, len(self._files)
        index = self._place
        if shuffle:
            index = int(self._file_order.permutation(self._epoch, count)[self._place])
        loaded, self._loaded = self._loaded, None  # until the file is there
        path = self.find_file(*self._files[index])
        if path != loaded:
            self._datasets: list[Any] = []  # gone before the next file comes
            try:
                self._datasets = read_rows(path, list(self.param.top), self.ops.dtype)
            except DataError as error:
                raise DataError(f"{self.where}: {self._files[index][1]}: {error}") from None
        self._loaded = path
        self._rows = len(self._datasets[0])
        self._order = None
        if shuffle:
            position = self._epoch * count + self._place
            self._order = self._row_order.permutation(position, self._rows)

    def _refuse_shape(self, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        raise DataError(
            f"{self.where}: '{self._loaded}', dataset '{name}': expected rows of shape "
            f"{expected[1:]}, as in the file before, got {found[1:]}. Give all files rows of "
            "one shape."
        )
