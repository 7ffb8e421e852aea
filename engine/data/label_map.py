"""Label maps: the names of the classes of a detection set."""

from __future__ import annotations

from pathlib import Path

from caffepy.engine.core.errors import DataError
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import LabelMap


def read_label_map(path: Path) -> LabelMap:
    """The map in a prototxt file. Raises: PrototxtError; DataError where it names a label or a
    class twice."""
    found, index = text.read_indexed(path, LabelMap)
    labels: set[int] = set()
    names: set[str] = set()
    for place, item in enumerate(found.item):
        twice = (
            f"label {item.label}" if item.label in labels
            else f"name '{item.name}'" if item.name in names
            else ""
        )  # fmt: skip
        if twice:
            raise DataError(
                f"{index.where(('item', place))}: {twice}: expected once in a label map, got it "
                "twice. Correct the map."
            )
        labels.add(item.label)
        names.add(item.name)
    return found
