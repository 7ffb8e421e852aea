"""Files of detections, in the forms that VOC, ILSVRC and COCO evaluate."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DataError
from caffepy.engine.data.image_sizes import ImageSize, boxes_in_pixels
from caffepy.engine.files import written_whole
from caffepy.proto.caffe_pb2 import ResizeParameter

FORMATS = ("VOC", "ILSVRC", "COCO")
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?|null|true|false")
_ITEM = """\
        {{
            "image_id": {},
            "category_id": {},
            "bbox": [
                {}
            ],
            "score": {}
        }}"""


class DetectionFiles:
    """Collects the detections of images, whose names and sizes are known in their order, and writes
    them when those of all are there; then the next ones begin anew.

    folder: made where it is not there.  prefix: of the files' names.  form: one of FORMATS.
    names: of the labels.  sizes: of the images.  resize: how they were made to fit into the net.
    where: the layer, for messages.

    VOC: a file `<prefix><name>.txt` for each label, lines `image score xmin ymin xmax ymax`;
    ILSVRC: `<prefix>.txt`, lines `image label score xmin ymin xmax ymax`, coordinates cut to whole
    pixels; COCO: `<prefix>.json`, boxes x, y, width, height in pixels with two decimals.

    Raises: DataError where the folder or a file cannot be written.
    """

    def __init__(
        self, folder: Path, prefix: str, form: str, names: Mapping[int, str],
        sizes: Sequence[ImageSize], resize: ResizeParameter | None, where: str,
    ) -> None:  # fmt: skip
        self._folder, self._prefix, self._form = folder, prefix, form
        self._names, self._sizes, self._resize = names, sizes, resize
        self._where = where
        self._images = 0  # whose detections are there
        self._found: list[np.ndarray] = []  # (n, 7): image, label, score, x, y, width, height
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # a name with \0 in it is a ValueError
            told = error.strerror if isinstance(error, OSError) else error
            raise DataError(
                f"{where}: save_output_param.output_directory: '{folder}' cannot be made: "
                f"{told}. Name another folder."
            ) from None

    def add(self, rows: np.ndarray, images: int) -> None:
        """rows: (D, 7), image, label, score and box as fractions of the net's input, by image.
        images: how many they are the detections of; images count from 0.

        Raises: DataError where a box is nan or infinite, which no file can hold, or one cannot be
        written."""
        for image in range(images):
            found = rows[rows[:, 0] == image].astype(np.float32)
            if not np.isfinite(found).all():
                raise DataError(
                    f"{self._where}: image {self._images + 1} of the files: expected boxes of "
                    f"numbers, got {found[~np.isfinite(found).all(1)][0, 3:].tolist()}. Look for "
                    "nan in what gives the locations."
                )
            found[:, 0] = self._images
            boxes = boxes_in_pixels(found[:, 3:], self._sizes[self._images], self._resize)
            boxes[:, 2:] -= boxes[:, :2]
            found[:, 3:] = np.trunc(boxes * 100 + np.float32(0.5)) / 100.0
            self._found.append(found)
            self._images += 1
            if self._images == len(self._sizes):
                self._write(self._joined())
                self._images, self._found = 0, []

    def state(self) -> dict[str, Any]:
        """What is there of the images so far."""
        return {"images": self._images, "rows": self._joined()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` gave."""
        self._images = state["images"]
        self._found = [np.array(state["rows"], np.float32).reshape(-1, 7)]

    def close(self) -> None:
        """Says where images were too few for the files to be written."""
        if self._images:
            log.warning(
                f"{self._where}: the detections of {self._images} images were not saved: expected "
                f"{len(self._sizes)}. Run more iterations, or set save_output_param.num_test_image."
            )

    def _joined(self) -> np.ndarray:
        """(n, 7): what was found in all images so far."""
        return np.concatenate([np.empty((0, 7), np.float32), *self._found])

    def _write(self, rows: np.ndarray) -> None:
        if self._form == "VOC":
            texts = {
                f"{name}.txt": self._lines(rows[rows[:, 1] == label], labelled=False)
                for label, name in self._names.items()
            }
        elif self._form == "ILSVRC":
            texts = {".txt": self._lines(rows, labelled=True)}
        else:
            texts = {".json": f"[\n{self._items(rows)}\n    \n]\n"}
        for end, content in texts.items():
            with written_whole(self._folder / f"{self._prefix}{end}", DataError) as temporary:
                temporary.write_bytes(content.encode("utf-8", "surrogateescape"))

    def _lines(self, rows: np.ndarray, *, labelled: bool) -> str:
        """A line for each detection, with or without its label."""
        lines = []
        for image, label, score, *box in rows.tolist():
            x, y, width, height = (int(number) for number in box)
            named = f" {label:g}" if labelled else ""
            name = self._sizes[int(image)].name
            lines.append(f"{name}{named} {score:g} {x} {y} {x + width} {y + height}\n")
        return "".join(lines)

    def _items(self, rows: np.ndarray) -> str:
        """The detections as members of an array of JSON."""
        items = [
            _ITEM.format(
                _quoted(self._sizes[int(image)].name),
                _quoted(self._names[int(label)]),
                ",\n                ".join(f"{number:.9g}" for number in box),
                f"{score:.9g}",
            )
            for image, label, score, *box in rows.tolist()
        ]
        return ",\n".join(items)


def _quoted(name: str) -> str:
    """A string of JSON; a number where it is one, as COCO's own ids are."""
    return name if _JSON_NUMBER.fullmatch(name) else json.dumps(name)
