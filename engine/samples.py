"""The samples of a batch: how many there are, and which of which file a number comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import LabelError
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.storage import Shape


class Wired(Protocol):
    """A net: its layers, and the blobs of each."""

    layers: list[Layer]
    bottoms: list[list[Blob]]
    tops: list[list[Blob]]


def first_batch(net: Wired) -> tuple[Layer | None, int]:
    """The first layer that gives samples, and how many it gives at a time, 1 without one."""
    for layer, bottoms, tops in zip(net.layers, net.bottoms, net.tops, strict=True):
        if not bottoms and tops and not layer.blobs and tops[0].shape:
            return layer, max(1, tops[0].shape[0])
    return None, 1


def name_label(net: Wired, error: LabelError) -> None:
    """Tells an error of one of a net's layers what its label blob is called and where the sample
    comes from, as far as the way down to a data layer can be followed."""
    for index in reversed(range(len(net.layers))):
        for blob in net.bottoms[index]:
            if blob.data is error.labels:
                place = _place(error.index, blob.shape)
                error.blob = _name(net, index, blob)
                error.source = source(net, index, blob, place)
                return


def source(net: Wired, reader: int, blob: Blob, place: int) -> str:
    """`row 7 of 'train.h5'` for element `place` of a blob as layer `reader` finds it; '' where it
    comes from no file, or where several numbers were made into one on the way."""
    below = _producer(net, reader, blob)
    while below is not None:
        index, top_index = below
        layer, top = net.layers[index], net.tops[index][top_index]
        if not net.bottoms[index]:
            return layer.describe_sample(top_index, layer.sample_at(top_index, place, top.shape))
        origin = layer.origin(top_index, place, net.bottoms[index])
        if origin is None:
            break
        below, place = _producer(net, index, net.bottoms[index][origin[0]]), origin[1]
    return ""


def _name(net: Wired, reader: int, blob: Blob) -> str:
    """What the prototxt calls a blob, which the net may have split since."""
    below = _producer(net, reader, blob)
    if below is not None and net.layers[below[0]].type == "Split":
        return net.bottoms[below[0]][0].name
    return blob.name


def _producer(net: Wired, reader: int, blob: Blob) -> tuple[int, int] | None:
    """The last layer before `reader` that writes a blob, and which of its tops it is."""
    for index in reversed(range(reader)):
        for top_index, top in enumerate(net.tops[index]):
            if top is blob:
                return index, top_index
    return None


def _place(index: Sequence[int], shape: Shape) -> int:
    """Which element an index means, in C order."""
    place = 0
    for at, size in zip(index, shape, strict=True):
        place = place * size + at
    return place
