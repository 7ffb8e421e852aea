"""Binary nets of any fork, read into the one schema and written in a fork's numbers.

    found = renumber.decode(data, "net.caffemodel")
    found.net           the NetParameter, each block under the schema's own number
    found.unknown       what is in the file and no schema knows: it is kept, and written back
    renumber.encode(found.net, numbers=found.numbers)

What a number of a LayerParameter stands for follows from the layer's type: 149 is crop_center_param
in a layer of type CropCenter and upsample_param in one of type Upsample (proto/dialects.py). Where
the type does not say, the form on the wire does: NVCaffe's types of numbers are varints, Intel's
engine is a short text. The rest keeps its bytes, under numbers that the schema does not have.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.dialects import NUMBERS, WRITTEN, claims, reads
from caffepy.proto.errors import WeightsError
from caffepy.proto.fields import PRIVATE_NUMBERS, is_repeated, strip_notes, strip_private
from caffepy.proto.wire import BYTES, FIXED32, FIXED64, VARINT, Field, Wire, decoded, header, varint

_NET_LAYERS, _NET_LAYER, _TYPE, _BLOBS = 2, 100, 2, 7
_V1_TYPE = 5
_V1_TYPES = {
    number
    for number in pb.V1LayerParameter.LayerType.DESCRIPTOR.values_by_number
    if number not in PRIVATE_NUMBERS
}
_FIELDS: Mapping[str, Any] = pb.LayerParameter.DESCRIPTOR.fields_by_name
_NUMBERS = pb.LayerParameter.DESCRIPTOR.fields_by_number
_HIDDEN = 1 << 28  # added to a number, so that protobuf keeps what stands there as unknown
_TEXT_LENGTH = 64  # of a string that is taken for one by its looks

# Wire types of the types of fields; the rest are varints.
_KINDS = {
    FieldDescriptor.TYPE_MESSAGE: BYTES,
    FieldDescriptor.TYPE_STRING: BYTES,
    FieldDescriptor.TYPE_BYTES: BYTES,
    FieldDescriptor.TYPE_FLOAT: FIXED32,
    FieldDescriptor.TYPE_DOUBLE: FIXED64,
}

# Inside blocks: the fork's number to the schema's, by the block and its number in the fork.
_PSPNET_BN = {1: 20000, 2: 20001, 3: 20002}  # slope_filler, bias_filler, momentum
_INSIDE: Mapping[tuple[str, int], Mapping[int, int]] = {
    ("bn_param", 137): _PSPNET_BN,
    ("bn_param", 152): _PSPNET_BN,
    ("bn_param", 200): _PSPNET_BN,
    ("bn_param", 1400): _PSPNET_BN,
    ("continuation_indicator_param", 201): {2: 20000},
    ("ctc_loss_param", 159): {1: 20000, 2: 20001, 3: 20002, 4: 20003, 5: 20004},
    ("detection_evaluate_param", 161): {2: 3, 3: 4, 4: 5},
    ("focal_loss_param", 235): {1: 20000, 2: 4, 4: 20001},
    ("noise_param", 207): {1: 20000, 2: 20001, 3: 20002},
    ("normalize_param", 214): {1: 20000, 2: 20001, 3: 20002},
    ("proposal_param", 1200): {number: number + 19999 for number in range(1, 9)},
    ("resize_param", 231): {1: 3, 2: 4, 3: 20000, 4: 20001, 5: 20002},
    ("video_data_param", 140): {1: 20000, 2: 20002, 3: 20003, 4: 20001},
}

_FLOAT_SCALE = ("mnn", "tnn")  # dialects whose Upsample has a scale that need not be whole
_SCALE = "upsample_param.scale"  # in `Numbers` its wire type
_LARGEST_SCALE = (1 << 31) - 1

# Of a layer's type and a field, the number that it has in a file.
Numbers = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Decoded:
    """A net out of a binary file.

    numbers: where the file has another number than the schema: by (type, field).
    unknown: how often the file has something of unknown meaning, by (type, number).
    """

    net: pb.NetParameter
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    unknown: Counter[tuple[str, int]] = field(default_factory=Counter)


def decode(data: bytes, source: str, *, blobs: bool = True) -> Decoded:
    """The net in the bytes of a NetParameter, whichever fork wrote it.

    source: what errors call it.  blobs: whether today's layers bring their weights with them.
    Raises: WeightsError.
    """
    found = Decoded(pb.NetParameter())
    wire = Wire(data, source)
    pieces: list[bytes | memoryview] = []
    for part in wire.fields(0, len(data)):
        if part.number == _NET_LAYER and part.kind == BYTES:
            layer = b"".join(_layer(wire, part, blobs, found))
            pieces += (header(_NET_LAYER, len(layer)), layer)
        else:
            if part.number == _NET_LAYERS and part.kind == BYTES:
                _check_v1_type(wire, part)
            pieces.append(_with_utf8(wire, part, found.net.DESCRIPTOR))
    try:
        found.net.MergeFromString(b"".join(pieces))
    except DecodeError:
        raise WeightsError(
            f"{source}: expected a NetParameter message, got one that protobuf cannot read: "
            "it is damaged. Fetch it again."
        ) from None
    return found


def encode(net: pb.NetParameter, *, dialect: str = "", numbers: Numbers | None = None) -> bytes:
    """The bytes of a net in today's form, each block under the number that the dialect has for it;
    else under that in `numbers`, from the file it was read from; else under BVLC Caffe's or that of
    a fork that goes with it. What has no such number is left out.

    dialect: a key of NUMBERS.
    """
    rest = strip_notes(net)
    rest.ClearField("layer")
    pieces = [strip_private(rest).SerializeToString(deterministic=True)]
    for layer in net.layer:
        body = layer_bytes(layer, dialect=dialect, numbers=numbers)
        pieces += (header(_NET_LAYER, len(body)), body)
    return b"".join(pieces)


def layer_bytes(
    layer: pb.LayerParameter, *, dialect: str = "", numbers: Numbers | None = None
) -> bytes:
    """The bytes of a layer, numbered as `encode` says, in the order of the numbers."""
    wanted, given = NUMBERS.get(dialect, {}), numbers or {}
    parts = []
    wire = Wire(layer.SerializeToString(deterministic=True), "")
    for part in wire.fields(0, len(wire.data)):
        known = _NUMBERS.get(part.number)
        if known is not None and part.kind != _KINDS.get(known.type, VARINT):
            known = None  # protobuf has kept it as unknown
        number = _shown(part.number)
        payload = bytes(wire.data[part.start : part.end])
        if known is not None:
            name = known.name
            number = wanted.get(name, given.get((layer.type, name), WRITTEN.get(name, number)))
            if number in PRIVATE_NUMBERS:
                continue
            if known.message_type is not None and number != _BLOBS:
                payload = _outward(name, number, payload)
                if name == "upsample_param":
                    scale = FIXED32 if dialect in _FLOAT_SCALE else VARINT
                    if not dialect:
                        scale = given.get((layer.type, _SCALE), scale)
                    payload = _with_scale(payload, scale)
        parts.append((number, _piece(number, part.kind, payload)))
    return _in_order(parts)


def _layer(wire: Wire, layer: Field, blobs: bool, found: Decoded) -> Iterator[bytes | memoryview]:
    """The fields of a layer in a file, each under the schema's number."""
    parts = list(wire.fields(layer.start, layer.end))
    kind = next((wire.text(part) for part in reversed(parts) if part.number == _TYPE), "")
    for part in parts:
        if part.number == _BLOBS and not blobs:
            continue
        if part.number not in claims() and part.number not in PRIVATE_NUMBERS:
            if part.number not in _NUMBERS:
                found.unknown[kind, part.number] += 1
            yield _with_utf8(wire, part, pb.LayerParameter.DESCRIPTOR)
            continue
        payload = bytes(wire.data[part.start : part.end])
        meant = _meant(kind, part, payload)
        if meant is None:
            found.unknown[kind, part.number] += 1
            hidden = part.number + _HIDDEN if part.number in _NUMBERS else part.number
            yield _piece(hidden, part.kind, payload)
            continue
        name, payload = meant
        number = _FIELDS[name].number
        if number != part.number:
            found.numbers[kind, name] = part.number
        if name == "upsample_param":
            found.numbers[kind, _SCALE] = _scale_kind(payload)
            payload = _with_scale(payload, FIXED32)
        yield _piece(number, part.kind, payload)


def _check_v1_type(wire: Wire, layer: Field) -> None:
    """Raises: WeightsError where a layer of the form V1 has a type that only its fork knows: the
    number alone does not say which."""
    for part in wire.fields(layer.start, layer.end):
        if part.number == _V1_TYPE and part.kind == VARINT and part.value not in _V1_TYPES:
            wire.fail(
                part.at,
                f"expected one of Caffe's types of layers, got number {part.value}, a fork's. "
                "Upgrade the file with that fork's own upgrade_net_proto_binary.",
            )


def _meant(kind: str, part: Field, payload: bytes) -> tuple[str, bytes] | None:
    """The field that stands for this number in layers of this type, and the payload in the schema's
    numbers."""
    own = _NUMBERS.get(part.number)
    names = claims().get(part.number, ())
    if own is not None and own.number not in PRIVATE_NUMBERS:
        names = (own.name, *names)
    fits = [name for name in names if _KINDS.get(_FIELDS[name].type, VARINT) == part.kind]
    for name in fits:
        if _FIELDS[name].message_type is not None and reads(kind, name):
            inward = _inward(name, part.number, payload)
            if inward is not None:
                return name, inward
    for name in fits:
        if _FIELDS[name].message_type is None and (part.kind != BYTES or _is_text(payload)):
            return name, payload
    return None


def _inward(name: str, number: int, payload: bytes) -> bytes | None:
    """A block in the schema's numbers; None where it is no such block."""
    try:
        mapping = _inside(name, number, payload)
        if mapping:
            payload = _renamed(payload, mapping)
        within = Wire(payload, "")
        parts = list(within.fields(0, len(payload)))
        inner = _FIELDS[name].message_type
        payload = b"".join(_with_utf8(within, part, inner) for part in parts)
        _message(name).MergeFromString(payload)
    except (WeightsError, DecodeError):
        return None
    return payload


def _outward(name: str, number: int, payload: bytes) -> bytes:
    """A block in the numbers of the fork that has it under this number, without private ones."""
    message = _message(name)
    message.MergeFromString(payload)
    inside = _INSIDE.get((name, number), {})
    if name == "bn_param":
        inside = (
            _PSPNET_BN
            if any(f.number in _PSPNET_BN.values() for f, _ in message.ListFields())
            else {}
        )
    if not inside:
        return strip_private(message).SerializeToString(deterministic=True)
    return _renamed(payload, {ours: theirs for theirs, ours in inside.items()})


def _with_utf8(wire: Wire, part: Field, parent: Any) -> bytes | memoryview:
    """A field of a message with the descriptor `parent`, its strings in UTF-8, as protobuf wants
    them."""
    known = parent.fields_by_number.get(part.number)
    whole = wire.data[part.at : part.end]
    if part.kind != BYTES or known is None:
        return whole
    payload = bytes(wire.data[part.start : part.end])
    if known.type == FieldDescriptor.TYPE_STRING:
        text = decoded(payload).encode()
        return whole if text == payload else _piece(part.number, BYTES, text)
    inner = known.message_type
    if inner is None or inner is pb.BlobProto.DESCRIPTOR:
        return whole
    within = Wire(payload, "")
    try:
        parts = list(within.fields(0, len(payload)))
    except WeightsError:
        return whole  # for protobuf to refuse
    text = b"".join(_with_utf8(within, one, inner) for one in parts)
    return whole if text == payload else _piece(part.number, BYTES, text)


def _inside(name: str, number: int, payload: bytes) -> Mapping[int, int]:
    """What the numbers inside a block of this number are in the schema, where they differ."""
    if name == "bn_param":  # what is its mode in SegNet is the momentum in PSPNet
        kinds = {
            part.kind for part in Wire(payload, "").fields(0, len(payload)) if part.number == 3
        }
        if kinds:
            return _PSPNET_BN if FIXED32 in kinds else {}
    return _INSIDE.get((name, number), {})


def _renamed(payload: bytes, mapping: Mapping[int, int]) -> bytes:
    """A message with other numbers for its fields; what is private even then is left out."""
    wire = Wire(payload, "")
    pieces = []
    for part in wire.fields(0, len(payload)):
        number = mapping.get(part.number, part.number)
        if number not in PRIVATE_NUMBERS or part.number in mapping:
            pieces.append((number, _piece(number, part.kind, payload[part.start : part.end])))
    return _in_order(pieces)


def _scale_kind(payload: bytes) -> int:
    """The wire type of the scale in an upsample_param: whole in some forks, a float in others."""
    parts = Wire(payload, "").fields(0, len(payload))
    return next((part.kind for part in parts if part.number == 1), VARINT)


def _with_scale(payload: bytes, kind: int) -> bytes:
    """An upsample_param whose scale has this wire type, as far as it is a whole number."""
    wire = Wire(payload, "")
    pieces = []
    for part in wire.fields(0, len(payload)):
        piece = payload[part.at : part.end]
        if part.number == 1 and (part.kind, kind) == (VARINT, FIXED32):
            piece = _piece(1, FIXED32, struct.pack("<f", part.value))
        elif part.number == 1 and (part.kind, kind) == (FIXED32, VARINT):
            (scale,) = struct.unpack("<f", payload[part.start : part.end])
            if 0 <= scale <= _LARGEST_SCALE and scale == int(scale):
                piece = _piece(1, VARINT, varint(int(scale)))
        pieces.append(piece)
    return b"".join(pieces)


def _is_text(payload: bytes) -> bool:
    return 0 < len(payload) <= _TEXT_LENGTH and all(32 <= byte < 127 for byte in payload)


def _message(name: str) -> Message:
    """An empty block."""
    value: Any = getattr(pb.LayerParameter(), name)
    message: Message = value.add() if is_repeated(_FIELDS[name]) else value
    return type(message)()


def _shown(number: int) -> int:
    """The number in the file of what `decode` has hidden from the schema."""
    return number - _HIDDEN if number - _HIDDEN in _NUMBERS else number


def _in_order(pieces: list[tuple[int, bytes]]) -> bytes:
    """Fields with their numbers, as protobuf orders them."""
    return b"".join(piece for _, piece in sorted(pieces, key=lambda piece: piece[0]))


def _piece(number: int, kind: int, payload: bytes) -> bytes:
    """One field."""
    if kind == BYTES:
        return header(number, len(payload)) + payload
    return varint(number << 3 | kind) + payload
