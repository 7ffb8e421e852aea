"""Split layers for blobs that more than one layer reads, so that their gradients are summed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.errors import PrototxtError, did_you_mean, place

_Top = tuple[int, int]  # index of a layer, and of one of its tops


def split_layer_name(layer: str, blob: str, top: int) -> str:
    """The name of the Split layer behind a layer's top."""
    return f"{blob}_{layer}_{top}_split"


def split_blob_name(layer: str, blob: str, top: int, use: int) -> str:
    """The name of the copy that the use-th reader gets."""
    return f"{split_layer_name(layer, blob, top)}_{use}"


def insert_splits(
    net: pb.NetParameter, written: Iterable[pb.LayerParameter] = ()
) -> pb.NetParameter:
    """The net with a Split layer behind each top that is used more than once.

    A loss weight counts as a use, and moves to the Split's first top. As in Caffe, all loss
    weights of that layer go with it.
    written: the layers before the rules of the net's state left some out, for messages.
    Raises: PrototxtError where a bottom is made by no layer before.
    """
    maker, uses, weights = _uses(net, written)
    split = pb.NetParameter()
    split.CopyFrom(net)
    del split.layer[:]
    used: Counter[_Top] = Counter()
    for index, original in enumerate(net.layer):
        layer = split.layer.add()
        layer.CopyFrom(original)
        for position, bottom in enumerate(original.bottom):
            top = maker[index, position]
            if uses[top] > 1:
                source = net.layer[top[0]].name
                layer.bottom[position] = split_blob_name(source, bottom, top[1], used[top])
                used[top] += 1
        for position in range(len(original.top)):
            top = (index, position)
            if uses[top] > 1:
                weight = weights.get(top, 0.0)
                _add_split(split, original, position, uses[top], weight)
                if weight:
                    layer.ClearField("loss_weight")
                    used[top] += 1
    return split


def _uses(
    net: pb.NetParameter, written: Iterable[pb.LayerParameter]
) -> tuple[dict[tuple[int, int], _Top], Counter[_Top], dict[_Top, float]]:
    """Per bottom (layer, index) the top it reads; per top its number of uses and loss weight."""
    maker: dict[tuple[int, int], _Top] = {}
    uses: Counter[_Top] = Counter()
    weights: dict[_Top, float] = {}
    last: dict[str, _Top] = {}  # the layer that wrote a blob last: in-place layers follow others
    for index, layer in enumerate(net.layer):
        for position, bottom in enumerate(layer.bottom):
            if bottom not in last:
                raise PrototxtError(
                    f"{place(layer)}: bottom '{bottom}' is made by no layer before this one."
                    + (
                        _left_out(bottom, net, written)
                        or did_you_mean(bottom, last)
                        or " Add that layer, or correct the name."
                    )
                )
            maker[index, position] = last[bottom]
            uses[last[bottom]] += 1
        for position, blob in enumerate(layer.top):
            last[blob] = (index, position)
        for blob, weight in zip(layer.top, layer.loss_weight):
            weights[last[blob]] = weight
            uses[last[blob]] += weight != 0
    return maker, uses, weights


def _left_out(blob: str, net: pb.NetParameter, written: Iterable[pb.LayerParameter]) -> str:
    """A remedy where a layer that makes the blob is written, but not in the net; else ''."""
    for layer in written:
        if blob in layer.top and blob not in layer.bottom and layer not in net.layer:
            return (
                f" Layer '{layer.name}' makes it, but its include or exclude rules leave it out in "
                f"phase {pb.Phase.Name(net.state.phase)}. Correct them, or the phase, level or "
                "stages that the net is for."
            )
    return ""


def _add_split(
    net: pb.NetParameter, source: pb.LayerParameter, position: int, count: int, weight: float
) -> None:
    blob = source.top[position]
    layer = net.layer.add(name=split_layer_name(source.name, blob, position), type="Split")
    layer.bottom.append(blob)
    layer.top.extend(split_blob_name(source.name, blob, position, k) for k in range(count))
    if weight:
        layer.loss_weight.extend([weight] + [0.0] * (count - 1))
    layer.source_file, layer.source_line = source.source_file, source.source_line
