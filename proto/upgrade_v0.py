"""The first form of layers to the second: padding layers merged, flat fields moved into blocks."""

from __future__ import annotations

import logging
from typing import Any

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.errors import PrototxtError, did_you_mean, place
from caffepy.proto.fields import is_repeated
from caffepy.proto.typenames import V0_TO_V1

_log = logging.getLogger(__name__)

_CONV = {"conv": "convolution_param"}
_POOL = {"pool": "pooling_param"}
_LRN = {"lrn": "lrn_param"}
_DATA = {"data": "data_param"}
_IMAGES = {"images": "image_data_param"}
_WINDOWS = {"window_data": "window_data_param"}
_WEIGHTS = _CONV | {"innerproduct": "inner_product_param"}
_BATCHES = _DATA | _IMAGES | _WINDOWS | {"hdf5_data": "hdf5_data_param"}
_ANY = dict.fromkeys(V0_TO_V1, "transform_param")

# V0 field: (its name now, {V0 type: the block it moves to})
_MOVES: dict[str, tuple[str, dict[str, str]]] = {
    "num_output": ("num_output", _WEIGHTS),
    "biasterm": ("bias_term", _WEIGHTS),
    "weight_filler": ("weight_filler", _WEIGHTS),
    "bias_filler": ("bias_filler", _WEIGHTS),
    "pad": ("pad", _CONV | _POOL),
    "kernelsize": ("kernel_size", _CONV | _POOL),
    "group": ("group", _CONV),
    "stride": ("stride", _CONV | _POOL),
    "pool": ("pool", _POOL),
    "dropout_ratio": ("dropout_ratio", {"dropout": "dropout_param"}),
    "local_size": ("local_size", _LRN),
    "alpha": ("alpha", _LRN),
    "beta": ("beta", _LRN),
    "k": ("k", _LRN),
    "source": ("source", _BATCHES | {"infogain_loss": "infogain_loss_param"}),
    "scale": ("scale", _ANY),
    "meanfile": ("mean_file", _ANY),
    "batchsize": ("batch_size", _BATCHES),
    "cropsize": ("crop_size", _ANY),
    "mirror": ("mirror", _ANY),
    "rand_skip": ("rand_skip", _DATA | _IMAGES),
    "shuffle_images": ("shuffle", _IMAGES),
    "new_height": ("new_height", _IMAGES),
    "new_width": ("new_width", _IMAGES),
    "concat_dim": ("concat_dim", {"concat": "concat_param"}),
    "det_fg_threshold": ("fg_threshold", _WINDOWS),
    "det_bg_threshold": ("bg_threshold", _WINDOWS),
    "det_fg_fraction": ("fg_fraction", _WINDOWS),
    "det_context_pad": ("context_pad", _WINDOWS),
    "det_crop_mode": ("crop_mode", _WINDOWS),
}
_KEPT = ("name", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param")


def upgrade_v0(net: pb.NetParameter) -> pb.NetParameter:
    """V0 layers as V1 layers.

    Differs: Caffe only logs a field that its layer's type has no use for, and so do we; V1 layers
    between V0 ones are kept. Raises: PrototxtError.
    """
    upgraded = pb.NetParameter()
    upgraded.CopyFrom(net)
    del upgraded.layers[:]
    for layer in _without_padding(net):
        upgraded.layers.append(_upgraded(layer) if layer.HasField("layer") else layer)
    return upgraded


def _without_padding(net: pb.NetParameter) -> list[pb.V1LayerParameter]:
    """The layers, with padding layers merged into the convolutions and poolings they feed."""
    layers: list[pb.V1LayerParameter] = []
    maker: dict[str, pb.V1LayerParameter | None] = dict.fromkeys(net.input)
    for original in net.layers:
        layer = pb.V1LayerParameter()
        layer.CopyFrom(original)
        for index, bottom in enumerate(original.bottom):
            if bottom not in maker:
                raise PrototxtError(
                    f"{place(original)}: bottom '{bottom}' is made by no layer before this one."
                    + did_you_mean(bottom, maker)
                )
            source = maker[bottom]
            if source is not None and source.layer.type == "padding":
                _merge_padding(source, layer, index)
        for top in original.top:
            maker[top] = original
        if original.layer.type != "padding":
            layers.append(layer)
    return layers


def _merge_padding(padding: pb.V1LayerParameter, layer: pb.V1LayerParameter, index: int) -> None:
    if layer.layer.type not in ("conv", "pool"):
        raise PrototxtError(
            f"{place(layer)}: expected a conv or pool layer behind the padding layer"
            f" '{padding.layer.name}', got '{layer.layer.type}'."
        )
    if len(layer.bottom) != 1 or len(padding.bottom) != 1 or len(padding.top) != 1:
        raise PrototxtError(
            f"{place(layer)}: expected one bottom here and one bottom and top in the padding"
            f" layer '{padding.layer.name}'."
        )
    layer.layer.pad = padding.layer.pad
    layer.bottom[index] = padding.bottom[0]


def _upgraded(layer: pb.V1LayerParameter) -> pb.V1LayerParameter:
    old = layer.layer
    new = pb.V1LayerParameter()
    new.CopyFrom(layer)
    new.ClearField("layer")
    if old.HasField("type"):
        if old.type not in V0_TO_V1:
            raise PrototxtError(
                f"{place(layer)}: '{old.type}' is no V0 layer type."
                + did_you_mean(old.type, V0_TO_V1)
            )
        _set(new, "type", pb.V1LayerParameter.LayerType.Value(V0_TO_V1[old.type]))
    for field, value in old.ListFields():
        if field.name in _KEPT:
            _set(new, field.name, value)
        elif field.name != "type":
            name, blocks = _MOVES.get(field.name, ("", {}))
            if old.type in blocks:
                _set(getattr(new, blocks[old.type]), name, value)
            else:
                _log.warning("%s: type '%s' has no use for %s", place(layer), old.type, field.name)
    return new


def _set(message: Any, name: str, value: Any) -> None:
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.message_type is not None and not is_repeated(field):
        getattr(message, name).CopyFrom(value)
    elif not is_repeated(field):
        setattr(message, name, value)
    elif isinstance(value, int):  # one kernel_size, pad or stride in V0
        getattr(message, name).append(value)
    else:
        getattr(message, name).extend(value)
