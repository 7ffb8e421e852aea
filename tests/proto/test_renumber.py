"""Binary nets of forks: each block by the layer's type and the number in the file, and back."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import renumber, weights
from caffepy.proto.dialects import FORK_OF, NUMBERS, check_dialect, claims, reads
from caffepy.proto.errors import PrototxtError, WeightsError
from caffepy.proto.fields import PRIVATE_NUMBERS
from caffepy.proto.wire import BYTES, FIXED32, VARINT, header, varint

FIELDS = pb.LayerParameter.DESCRIPTOR.fields_by_name
MUTATIONS = 1500


def whole(number: int, value: int) -> bytes:
    return varint(number << 3 | VARINT) + varint(value)


def real(number: int, value: float) -> bytes:
    return varint(number << 3 | FIXED32) + struct.pack("<f", value)


def block(number: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return header(number, len(content)) + content


def filler(number: int, value: float) -> bytes:
    return block(number, block(1, "constant") + real(2, value))


def one_layer(kind: str, *fields: bytes) -> bytes:
    """A net of one layer, in protobuf's order."""
    return block(1, "net") + block(100, block(1, "l") + block(2, kind) + b"".join(fields))


def decoded(kind: str, *fields: bytes) -> renumber.Decoded:
    return renumber.decode(one_layer(kind, *fields), "net.caffemodel")


FOUND = {
    "CropCenter 149": ("CropCenter", block(149, whole(2, 0) + whole(2, 3)), "crop_center_param"),
    "Upsample 149": ("Upsample", block(149, real(1, 1.5)), "upsample_param"),
    "Upsample 147": ("Upsample", block(147, whole(1, 3)), "upsample_param"),
    "Upsample 150": ("Upsample", block(150, whole(1, 2)), "upsample_param"),
    "Upsample 137": ("Upsample", block(137, whole(1, 2) + whole(4, 1)), "upsample_param"),
    "Upsample 152": ("Upsample", block(152, whole(6, 9) + whole(7, 9)), "upsample_param"),
    "Reorg 147": ("Reorg", block(147, whole(1, 2)), "reorg_param"),
    "Reorg 149": ("Reorg", block(149, whole(1, 2) + whole(2, 1)), "reorg_param"),
    "Reorg 159": ("Reorg", block(159, whole(1, 2)), "reorg_param"),
    "ROIPooling 147": ("ROIPooling", block(147, whole(1, 6) + real(3, 0.5)), "roi_pooling_param"),
    "ROIPooling 150": ("ROIPooling", block(150, whole(1, 6)), "roi_pooling_param"),
    "ROIPooling 204": ("ROIPooling", block(204, whole(1, 6)), "roi_pooling_param"),
    "ROIPooling own": ("ROIPooling", block(8266711, whole(1, 6)), "roi_pooling_param"),
    "Lstm 8266711": ("Lstm", block(8266711, whole(1, 64)), "lstm_param"),
    "Lstm 201": ("Lstm", block(201, whole(1, 64) + real(2, 0.5)), "lstm_param"),
    "PSROIPooling 153": (
        "PSROIPooling",
        block(153, real(1, 1) + whole(2, 4)),
        "psroi_pooling_param",
    ),
    "SmoothL1Loss 148": ("SmoothL1Loss", block(148, real(1, 3)), "smooth_l1_loss_param"),
    "SmoothL1LossOHEM": ("SmoothL1LossOHEM", block(8266712, real(1, 3)), "smooth_l1_loss_param"),
    "Interp 143": ("Interp", block(143, whole(1, 33) + whole(2, 33)), "interp_param"),
    "Interp 205": ("Interp", block(205, whole(3, 2)), "interp_param"),
    "Input 143": ("Input", block(143, block(1, block(1, varint(3)))), "input_param"),
    "BN 45": ("BN", block(45, filler(1, 1) + whole(3, 1)), "bn_param"),
    "BN 137": ("BN", block(137, filler(1, 1) + real(4, 1e-3)), "bn_param"),
    "BN 152": ("BN", block(152, filler(1, 1) + filler(2, 0) + real(3, 0.5)), "bn_param"),
    "CenterLoss 147": ("CenterLoss", block(147, whole(1, 10)), "center_loss_param"),
    "CenterLoss 211": ("CenterLoss", block(211, whole(1, 10)), "center_loss_param"),
    "FocalLoss 147": ("FocalLoss", block(147, real(3, 0.5)), "focal_loss_param"),
    "FocalLoss 235": ("FocalLoss", block(235, whole(1, 0) + real(2, 3)), "focal_loss_param"),
    "MultiBoxFocalLoss": ("MultiBoxFocalLoss", block(147, real(3, 0.5)), "focal_loss_param"),
    "TripletLoss 203": ("TripletLoss", block(203, real(1, 2)), "triplet_loss_param"),
    "PriorBox 203": ("PriorBox", block(203, real(1, 30)), "prior_box_param"),
    "Swish 147": ("Swish", block(147, real(1, 2)), "swish_param"),
    "Swish 160": ("Swish", block(160, real(1, 2)), "swish_param"),
    "ours 147": ("ContrastiveAccuracy", block(147, real(1, 2)), "contrastive_accuracy_param"),
    "ours 149": ("ContrastiveAccuracy", block(149, real(1, 2)), "contrastive_accuracy_param"),
    "LSTM 146": ("LSTM", block(146, whole(1, 8)), "recurrent_param"),
    "LSTM 151": ("LSTM", block(151, whole(1, 8)), "recurrent_param"),
    "Permute 224": ("Permute", block(224, whole(1, 0)), "permute_param"),
    "Normalize 206": ("Normalize", block(206, whole(1, 0)), "norm_param"),
    "Normalize 214": ("Normalize", block(214, block(1, "L1") + whole(3, 1)), "normalize_param"),
    "NVCaffe's types": ("Convolution", whole(145, 2), "forward_type"),
    "NVCaffe's debug": ("ReLU", whole(149, 1), "debug"),
    "Intel's engine": ("Convolution", block(149, "MKL2017"), "engine"),
}


@pytest.mark.parametrize("case", FOUND)
def test_a_block_is_found_by_type_and_number_and_written_back_as_it_was(case: str) -> None:
    kind, field, name = FOUND[case]
    data = one_layer(kind, field)
    found = renumber.decode(data, "x")
    (layer,) = found.net.layer
    assert [f.name for f, _ in layer.ListFields()] == ["name", "type", name]
    assert not found.unknown
    again = renumber.encode(found.net, numbers=found.numbers)
    if case == "ours 149":  # the schema's number, not that of the fork it comes from
        assert again == one_layer(kind, block(147, real(1, 2)))
    else:
        assert again == data


def test_the_fields_inside_are_the_schemas() -> None:
    (layer,) = decoded("Upsample", block(137, whole(1, 3) + whole(4, 1))).net.layer
    assert (layer.upsample_param.scale, layer.upsample_param.pad_out_h) == (3, True)
    (layer,) = decoded("Upsample", block(149, real(1, 1.5))).net.layer
    assert layer.upsample_param.scale == 1.5
    (layer,) = decoded("BN", FOUND["BN 152"][1]).net.layer
    assert layer.bn_param.slope_filler.value == 1
    assert layer.bn_param.HasField("bias_filler")
    assert layer.bn_param.momentum == 0.5
    (layer,) = decoded("BN", FOUND["BN 45"][1]).net.layer
    assert layer.bn_param.scale_filler.value == 1
    assert layer.bn_param.bn_mode == pb.BNParameter.INFERENCE
    (layer,) = decoded("FocalLoss", FOUND["FocalLoss 235"][1]).net.layer
    assert layer.focal_loss_param.gamma == 3
    (layer,) = decoded("Normalize", FOUND["Normalize 214"][1]).net.layer
    assert (layer.normalize_param.normalize_type, layer.normalize_param.bp_norm) == ("L1", True)


@pytest.mark.parametrize("number", [45, 137, 152])
def test_the_third_field_tells_the_two_layouts_of_bn_apart(number: int) -> None:
    (layer,) = decoded("BN", block(number, whole(3, 1))).net.layer
    assert layer.bn_param.bn_mode == pb.BNParameter.INFERENCE
    (layer,) = decoded("BN", block(number, real(3, 0.25))).net.layer
    assert layer.bn_param.momentum == 0.25


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("Mine", block(147, whole(1, 2))),  # whose 147 is known to nobody
        ("Mine", block(555, b"abc")),
        ("Convolution", block(143, whole(1, 33))),
        ("CropCenter", whole(147, 3) + block(149, b"\xff\xff")),  # no such message
        ("CropCenter", block(20147, whole(2, 1))),  # a number that is private here
        ("", block(149, whole(2, 1))),
        ("PriorBox", whole(203, 1)),  # of another form than the block
    ],
)
def test_what_is_unknown_keeps_its_bytes(kind: str, field: bytes) -> None:
    data = one_layer(kind, field)
    found = renumber.decode(data, "x")
    (layer,) = found.net.layer
    assert {f.name for f, _ in layer.ListFields()} <= {"name", "type", "forward_math"}
    assert len(found.unknown) == 1 or kind == "PriorBox"
    assert renumber.encode(found.net, numbers=found.numbers) == data
    assert renumber.encode(pb.NetParameter.FromString(found.net.SerializeToString())) is not None


def test_a_dialect_gives_its_numbers_and_leaves_the_others() -> None:
    net = pb.NetParameter(name="net")
    for kind in ("Upsample", "Permute", "Mine"):
        net.layer.add(name="l", type=kind)
    net.layer[0].upsample_param.scale = 2
    net.layer[1].permute_param.order.append(1)

    def written(dialect: str) -> list[bytes]:
        data = renumber.encode(net, dialect=dialect, numbers={("Upsample", "upsample_param"): 147})
        found = pb.NetParameter.FromString(data)
        return [layer.SerializeToString() for layer in found.layer]

    def layer(kind: str, *fields: bytes) -> bytes:
        return block(1, "l") + block(2, kind) + b"".join(fields)

    permuted, mine = block(202, whole(1, 1)), layer("Mine")
    for dialect, upsample, permute in (
        ("", block(147, whole(1, 2)), permuted),
        ("segnet", block(137, whole(1, 2)), permuted),
        ("tnn", block(149, real(1, 2)), permuted),
        ("happynear", block(147, whole(1, 2)), block(224, whole(1, 1))),
    ):
        assert written(dialect) == [layer("Upsample", upsample), layer("Permute", permute), mine]


def test_blocks_without_a_public_number_are_left_out_where_no_file_gives_them_one() -> None:
    layer = pb.LayerParameter(name="l", type="Upsample", source_file="net.prototxt")
    layer.upsample_param.scale = 2
    assert renumber.layer_bytes(layer) == block(1, "l") + block(2, "Upsample")
    layer = pb.LayerParameter(name="l", type="SoftmaxWithLoss")
    layer.loss_param.ignore_label = 3
    layer.loss_param.label_smoothing = 0.1  # a fork's, inside a block that is everybody's
    written = renumber.layer_bytes(layer)
    assert written == block(1, "l") + block(2, "SoftmaxWithLoss") + block(101, whole(1, 3))


def test_our_own_accuracy_is_written_under_the_number_of_its_fork() -> None:
    layer = pb.LayerParameter(name="l", type="ContrastiveAccuracy")
    layer.contrastive_accuracy_param.margin = 2
    pieces = weights.encode_net("net", [(layer, [])])
    assert b"".join(pieces) == one_layer("ContrastiveAccuracy", block(147, real(1, 2)))


def test_raw_weights_become_such_as_every_caffe_reads() -> None:
    values = np.arange(6, dtype=np.float32)
    shape = block(7, block(1, varint(2) + varint(3)))
    raw = block(7, shape + whole(10, pb.FLOAT) + block(12, values.tobytes()))
    data = one_layer("InnerProduct", raw, whole(145, 1))
    found = renumber.decode(data, "x")
    (layer,), (read,) = found.net.layer, weights.parse(data, "x")
    assert not layer.blobs[0].data
    weights.fill_raw(layer, read)
    assert list(layer.blobs[0].data) == values.tolist()
    assert list(layer.blobs[0].shape.dim) == [2, 3]
    assert len(renumber.encode(found.net, numbers=found.numbers)) <= len(data)


def test_the_numbers_are_of_fields_that_exist_and_no_type_reads_two_of_one_number() -> None:
    assert set(FORK_OF) == set(NUMBERS)
    for numbers in NUMBERS.values():
        assert set(numbers) <= set(FIELDS)
        assert not any(number in PRIVATE_NUMBERS for number in numbers.values())
    types = [kind for kind, _, _ in FOUND.values()]
    own = {field.number: name for name, field in FIELDS.items()}
    for number, fields in claims().items():
        names = {*fields, *([own[number]] if number in own else [])}
        for kind in types:
            assert sum(reads(kind, name) for name in names) <= 1, (kind, number)


def test_a_dialect_that_does_not_exist_is_refused() -> None:
    assert check_dialect("") == ""
    assert check_dialect("ssd") == "ssd"
    with pytest.raises(PrototxtError, match=r"got 'seg-net'\. Did you mean 'segnet'"):
        check_dialect("seg-net")
    with pytest.raises(PrototxtError, match="There are bvlc, caffe_face"):
        check_dialect("x")


def test_a_real_file_of_a_fork_comes_back_byte_for_byte(shared: Path) -> None:
    path = shared / "realmodels" / "waifu2x_upresnet10" / "scale2.0x_model.json.caffemodel"
    data = path.read_bytes()
    found = renumber.decode(data, str(path))
    assert found.numbers == {("CropCenter", "crop_center_param"): 149}
    crops = [layer for layer in found.net.layer if layer.type == "CropCenter"]
    assert len(crops) == 6
    assert all(list(c.crop_center_param.crop_size)[2:] for c in crops)
    assert renumber.encode(found.net, numbers=found.numbers) == data


def test_damaged_files_are_decoded_or_refused() -> None:
    everything = b"".join(one_layer(kind, field) for kind, field, _ in FOUND.values())
    chance = random.Random(1)
    refused = 0
    for _ in range(MUTATIONS):
        data = bytearray(everything)
        for _ in range(chance.randrange(1, 8)):
            place = chance.randrange(len(data))
            if chance.random() < 0.5:
                data[place] = chance.randrange(256)
            elif chance.random() < 0.5:
                del data[place : place + chance.randrange(1, 5)]
            else:
                data[place:place] = data[: chance.randrange(1, 40)]
        try:
            found = renumber.decode(bytes(data), "x")
        except WeightsError:
            refused += 1
            continue
        again = renumber.encode(found.net, numbers=found.numbers)
        later = renumber.decode(again, "x")
        assert renumber.encode(later.net, numbers=later.numbers) == again
    assert 0 < refused < MUTATIONS


def test_a_type_that_only_a_fork_numbers_is_refused_in_the_old_form() -> None:
    v1 = block(4, "l") + whole(5, 18)
    assert renumber.decode(block(2, v1), "x").net.layers[0].type == pb.V1LayerParameter.RELU
    with pytest.raises(
        WeightsError, match=r"x: byte 5: .* types of layers, got number 77, a fork's"
    ):
        renumber.decode(block(2, block(4, "l") + whole(5, 77)), "x")


@pytest.mark.parametrize("depth", [90, 5000])
def test_deeply_nested_bytes_do_not_end_the_reader(depth: int) -> None:
    content = b""
    for _ in range(depth):
        content = block(1, content)
    field = varint(149 << 3 | BYTES) + varint(len(content)) + content
    found = decoded("Mine", field)
    assert found.unknown == {("Mine", 149): 1}
    assert decoded("CropCenter", field).net.layer[0].name == "l"
