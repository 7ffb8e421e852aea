"""The union schema: numbers, and living beside another caffe.proto."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto.fields import PRIVATE_NUMBERS, is_repeated, strip_notes, strip_private

# Fields on whose type or repetition forks disagree, and which this schema settles otherwise.
SETTLED = {
    ("TransformationParameter", "resize_param"): ("optional", "ResizeParameter"),
    ("UpsampleParameter", "scale"): ("optional", "float"),
}
ROOT = Path(__file__).resolve().parents[2]


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def type_name(field) -> str:
    kind = field.message_type or field.enum_type
    if kind is not None:
        return kind.full_name.removeprefix("caffepy.")
    return descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def message_named(name: str):
    return pb.DESCRIPTOR.pool.FindMessageTypeByName(f"caffepy.{name}")


def test_public_fields_have_caffes_numbers_types_and_defaults():
    """Of BVLC Caffe, SSD, R-FCN and ContrastiveAccuracy: what binary files may hold."""
    check_fields(Path(__file__).with_name("public_fields.tsv"))


def test_every_field_of_the_union_is_there_with_its_number_type_and_default(shared):
    check_fields(shared / "unionfields.tsv")


def check_fields(file: Path) -> None:
    for row in rows(file):
        key = (row["message"], row["field"])
        field = message_named(row["message"]).fields_by_name[row["field"]]
        label, kind = SETTLED.get(key, (row["label"], row["type"]))
        assert field.number == int(row["proposed_number"]), key
        assert ("repeated" if is_repeated(field) else "optional") == label, key
        assert type_name(field) == kind, key
        if row["default"]:
            assert field.has_default_value, key
            assert same_default(field, row["default"]), (key, field.default_value)


def same_default(field, text: str) -> bool:
    value = field.default_value
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name == text
    if isinstance(value, bool):
        return str(value).lower() == text
    return (
        value == text if isinstance(value, str) else abs(value - float(text)) <= 1e-6 * abs(value)
    )


def test_every_enum_value_of_the_union_is_there_and_bvlcs_have_its_number(shared):
    for row in rows(shared / "unionenums.tsv"):
        enum = pb.DESCRIPTOR.pool.FindEnumTypeByName(f"caffepy.{row['enum']}")
        value = enum.values_by_name[row["value"]]
        number, _, forks = row["numbers (number: forks)"].partition(":")
        if "BVLC/caffe" in forks:
            assert value.number == int(number), row


@pytest.mark.parametrize(
    ("message", "field", "number"),
    [
        ("NetParameter", "layer", 100),
        ("NetParameter", "layers", 2),
        ("LayerParameter", "swish_param", 147),
        ("LayerParameter", "clip_param", 148),
        ("LayerParameter", "contrastive_accuracy_param", 149),
        ("LayerParameter", "annotated_data_param", 200),
        ("LayerParameter", "video_data_param", 207),
        ("LayerParameter", "roi_pooling_param", 8266711),
        ("LayerParameter", "psroi_pooling_param", 10001),
        ("SolverParameter", "weights", 42),
        ("SolverState", "caffepy_state", 20000),
    ],
)
def test_numbers_that_files_depend_on(message, field, number):
    assert message_named(message).fields_by_name[field].number == number


def test_numbers_from_20000_are_private_but_for_two():
    public = {
        field.name
        for message in pb.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.number >= PRIVATE_NUMBERS.start and field.number not in PRIVATE_NUMBERS
    }
    assert public == {"roi_pooling_param", "smooth_l1_loss_param"}


def test_weights_and_shapes_are_packed():
    for message, names in {
        pb.BlobProto: ("data", "diff", "double_data", "double_diff"),
        pb.BlobShape: ("dim",),
    }.items():
        for name in names:
            assert message.DESCRIPTOR.fields_by_name[name].GetOptions().packed


def test_old_forms_have_a_current_field_for_each_of_theirs():
    changed = {"blob_share_mode", "blobs_lr", "weight_decay", "layer", "deephi_reisze_param"}
    current = pb.LayerParameter.DESCRIPTOR.fields_by_name
    for field in pb.V1LayerParameter.DESCRIPTOR.fields:
        if field.message_type is not None and field.name not in changed:
            assert current[field.name].message_type is field.message_type, field.name


def test_private_fields_and_enum_values_do_not_go_into_binary_files():
    layer = pb.LayerParameter(
        name="up",
        type="Upsample",
        upsample_param=pb.UpsampleParameter(scale=2),
        convolution_param=pb.ConvolutionParameter(
            num_output=3, dilation_h=2, engine="CUDNN_FORWARD"
        ),
        roi_pooling_param=pb.ROIPoolingParameter(pooled_h=7),
        source_file="a.prototxt",
        source_line=3,
    )
    expected = pb.LayerParameter(
        name="up",
        type="Upsample",
        convolution_param=pb.ConvolutionParameter(num_output=3),
        roi_pooling_param=pb.ROIPoolingParameter(pooled_h=7),
    )
    before = layer.SerializeToString()
    assert strip_private(layer) == expected
    assert strip_private(pb.NetParameter(layer=[layer])).layer[0] == expected
    assert layer.SerializeToString() == before


def test_strip_notes_leaves_unknown_blocks_and_fork_fields():
    layer = pb.LayerParameter(source_file="a", source_line=1, debug=True)
    layer.unknown_param.add(name="sin_param", text="a: 1")
    stripped = strip_notes(pb.NetParameter(layer=[layer])).layer[0]
    assert not stripped.HasField("source_file")
    assert not stripped.HasField("source_line")
    assert stripped.debug
    assert stripped.unknown_param[0].name == "sin_param"


def test_lives_in_one_process_with_another_caffe_proto():
    program = """
from google.protobuf import descriptor_pb2, descriptor_pool
other = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
other.message_type.add(name="NetParameter").field.add(name="name", number=1, type=9, label=1)
other.enum_type.add(name="Phase").value.add(name="TRAIN", number=0)
descriptor_pool.Default().AddSerializedFile(other.SerializeToString())
from caffepy.proto import caffe_pb2
assert caffe_pb2.DESCRIPTOR.name == "caffepy/proto/caffe.proto"
assert descriptor_pool.Default().FindMessageTypeByName("caffe.NetParameter").fields_by_name["name"]
assert caffe_pb2.NetParameter.DESCRIPTOR.full_name == "caffepy.NetParameter"
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
