"""Nets of other people, made to run without their data: Input layers stand for what reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from caffepy.engine.net import Net
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import LayerParameter, NetParameter, NetState
from caffepy.proto.fields import is_repeated
from caffepy.proto.filter import filter_net
from caffepy.proto.upgrade import upgrade_net

LARGEST_BATCH = 2
# Layers without bottoms that make their tops by themselves.
KEPT = ("Input", "DummyData", "Parameter", "ContinuationIndicator")
# One box in the form of AnnotatedData's labels: image, label, instance, corners, difficult.
BOX = (0, 1, 0, 0.1, 0.1, 0.6, 0.6, 0)

# Layers that a net can do without: losses, evaluations, and what comes behind the scores.
TAKEN_OUT = (
    "CTCGreedyDecoder", "CtcLoss", "DetectionEvaluate", "DiceCoefLoss", "K1_EuclideanLoss",
    "K2_EuclideanLoss", "LabelsequenceAccuracy", "MultiStageMeanfield", "QuartetLoss",
    "SegAccuracy", "SegmentationEvaluate", "WarpCTCLoss", "Yolov3DetectionOutput",
    "EuclideanLossLayer", "RBoxLossLayer", "SumOfSquaredLossLayer", "InitLandmark",
    "cls_Layer_fc", "regression_Layer",
)  # fmt: skip


def _dropout(layer: LayerParameter) -> None:
    """Instead of a Python layer that drops whole channels."""
    layer.type = "Dropout"
    layer.ClearField("python_param")


def _inner_product(layer: LayerParameter) -> None:
    """Instead of one with a margin, which is for training."""
    layer.inner_product_param.num_output = layer.margin_inner_product_param.num_output
    layer.type = "InnerProduct"
    layer.ClearField("margin_inner_product_param")
    del layer.bottom[1:], layer.top[1:]


def _indicator(layer: LayerParameter) -> None:
    """Instead of a ContinuationIndicator: the values do not matter here."""
    param = layer.continuation_indicator_param
    layer.type = "DummyData"
    layer.dummy_data_param.shape.add(dim=[param.time_step, param.batch_size])
    layer.dummy_data_param.data_filler.add(value=1)
    layer.ClearField("continuation_indicator_param")


INSTEAD = {
    "ContinuationIndicator": _indicator,
    "MarginInnerProduct": _inner_product,
    "SpatialDropoutLayer": _dropout,
}

Shape = Sequence[int]
Shapes = Mapping[str, Shape]  # of tops
NOT_NOISE = ("label", "roi", "pts", "map", "boxes")  # parts of the names of what is no image


class Shapeless(Exception):
    """What a data layer reads is not said by the prototxt."""


def without_data(path: Path, phase: int, shapes: Shapes | None = None) -> NetParameter | None:
    """The net of a file in a phase, its data layers replaced by Input layers; None where it has no
    source of data in this phase.

    shapes: of tops, where the prototxt does not say them. Raises: Shapeless, CaffepyError.
    """
    state = NetState(phase=phase)  # type: ignore[arg-type]
    net = filter_net(upgrade_net(text.read(path, NetParameter)), state)
    sources = [layer for layer in net.layer if not layer.bottom]
    if not sources:
        return None
    for layer in sources:
        if layer.type not in KEPT:
            _replace(layer, shapes or {})
    return net


def follow_advice(net: NetParameter) -> list[str]:
    """Does to a net what docs/forks.md advises for layers that are not ours, where that is to take
    them out or to put one of ours there. Returns: their types, and the classes of Python layers.
    """
    done = []
    for layer in list(net.layer):
        kind = layer.python_param.layer if layer.type == "Python" else layer.type
        if kind in INSTEAD:
            done.append(kind)
            INSTEAD[kind](layer)
        elif kind in TAKEN_OUT:
            done.append(kind)
            net.layer.remove(layer)
    made = {top for layer in net.layer for top in layer.top}
    for layer in list(net.layer):  # what only those above have read from
        if not made.issuperset(layer.bottom):
            net.layer.remove(layer)
            made.difference_update(set(layer.top) - set(layer.bottom))
    return done


def fill_inputs(net: Net) -> None:
    """Noise in the inputs that are data by their name, 0 in labels, and one box in annotations; and
    statistics of 0 and 1 where none were gathered, which would let numbers grow without bound."""
    for layer in net.layers:
        if layer.type == "BatchNorm":
            for blob in layer.blobs[1:]:  # variance, its weight
                blob.data.write()[...] = 1
    draw = np.random.default_rng(0)
    for name in net.inputs:
        data = net.blobs[name].data
        array = data.write()
        if data.shape == (1, 1, 1, len(BOX)):
            array[...] = BOX
        elif any(part in name for part in NOT_NOISE):
            array[...] = 0
        else:
            array[...] = draw.uniform(-1, 1, data.shape)


def _replace(layer: LayerParameter, shapes: Shapes) -> None:
    """Turns a layer that reads data into an Input layer."""
    tops = list(layer.top)
    found = [shapes.get(top) or _shape(layer, index) for index, top in enumerate(tops)]
    name, kind = layer.name, layer.type
    layer.Clear()
    layer.name, layer.type = name or kind, "Input"
    layer.top.extend(tops)
    for shape in found:
        layer.input_param.shape.add(dim=shape)


def _shape(layer: LayerParameter, index: int) -> Shape:
    """What the prototxt says of a top."""
    batch = min(_given(layer, "batch_size") or 1, LARGEST_BATCH)
    size = _size(layer)
    if index == 0 or layer.type in ("DenseImageData", "ImageSegData"):
        if size is None:
            raise Shapeless(f"layer '{layer.name}' ({layer.type}): the size of its images")
        return batch, (1 if index else _given(layer, "channels") or 3), *size
    if layer.type == "AnnotatedData":
        return 1, 1, 1, len(BOX)
    if index > 1 or layer.type in ("HDF5Data", "Python"):
        raise Shapeless(f"layer '{layer.name}' ({layer.type}): the shape of '{layer.top[index]}'")
    return (batch,)


def _size(layer: LayerParameter) -> tuple[int, int] | None:
    for height, width in (
        ("crop_size", "crop_size"),
        ("crop_h", "crop_w"),
        ("height", "width"),
        ("new_height", "new_width"),
    ):
        size = _given(layer, height), _given(layer, width)
        if all(size):
            return size
    return None


def _given(message: object, name: str) -> int:
    """The first field of this name that is set, in a message or those within it; else 0."""
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        if field.name == name and not is_repeated(field):
            return int(value)
        if field.message_type is not None and not is_repeated(field):
            found = _given(value, name)
            if found:
                return found
    return 0
