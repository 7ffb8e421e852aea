"""Reading and writing of weights."""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import text, weights
from caffepy.proto.errors import WeightsError
from caffepy.proto.weights import BlobToWrite, decode_blob, encode_blob, encode_net, parse, read
from caffepy.proto.wire import header, varint

REMEDY = " The file is damaged, or of another kind: fetch it again, or give the right one."

FLOATS = struct.pack("<3f", 1, 2, 3)
SHAPE_3 = bytes([0x3A, 3, 0x0A, 1, 3])  # shape { dim: 3 }, packed


def block(number: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return header(number, len(body)) + body


def a_layer(*blobs: bytes, name: bytes = b"ip") -> bytes:
    return block(100, block(1, name), block(2, b"InnerProduct"), *(block(7, x) for x in blobs))


def only_blob(data: bytes) -> weights.BlobArray:
    return parse(a_layer(data), "w")[0].blobs[0]


def refusal(data: bytes) -> str:
    with pytest.raises(WeightsError) as error:
        parse(data, "w.caffemodel")
    return str(error.value)


# Caffe's own files.


def test_reads_the_parameters_that_caffe_wrote(golden):
    folder = golden / "formats" / "models"
    expected = np.load(folder / "net_expected.npz")
    layers = read(folder / "net.caffemodel")
    seen = 0
    for layer in layers:
        for index, blob in enumerate(layer.blobs):
            wanted = expected[f"param_{layer.name}_{index}"]
            np.testing.assert_array_equal(blob.data, wanted)
            assert (blob.data.shape, blob.shape) == (wanted.shape, wanted.shape)
            assert (blob.legacy_shape, blob.diff, blob.data.dtype) == (False, None, np.float32)
            seen += 1
    assert seen == len([key for key in expected if key.startswith("param_")])
    net = text.read(folder / "net.prototxt", pb.NetParameter)
    types = {layer.name: layer.type for layer in layers}
    assert all(types[x.name] == x.type for x in net.layer if x.name in types)


@pytest.mark.parametrize("file", ["v1.caffemodel", "v1_upgraded.caffemodel"])
def test_reads_v1_layers_with_four_number_shapes(golden, file):
    expected = np.load(golden / "formats" / "models" / "v1_expected.npz")
    layers = {layer.name: layer for layer in read(golden / "formats" / "models" / file)}
    assert layers["conv1"].type == "Convolution"
    assert layers["ip1"].type == "InnerProduct"
    for name in ("conv1", "ip1"):
        for index, blob in enumerate(layers[name].blobs):
            np.testing.assert_array_equal(blob.data, expected[f"param_{name}_{index}"])
            assert blob.legacy_shape
            assert len(blob.shape) == 4


def test_writes_a_file_that_protobuf_reads_as_caffes_own(golden):
    file = golden / "formats" / "models" / "net.caffemodel"
    net = pb.NetParameter.FromString(file.read_bytes())
    layers = [
        (layer, [BlobToWrite(blob.data) for blob in found.blobs])
        for layer, found in zip(net.layer, read(file), strict=True)
    ]
    assert pb.NetParameter.FromString(b"".join(encode_net(net.name, layers))) == net


# The ways to store a blob.


def test_packed_floats_are_views_of_the_files_bytes():
    data = a_layer(SHAPE_3 + block(5, FLOATS))
    blob = parse(data, "w")[0].blobs[0]
    assert not blob.data.flags.owndata
    assert not blob.data.flags.writeable
    assert np.shares_memory(blob.data, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        (block(5, FLOATS), np.float32),
        (b"".join(b"\x2d" + FLOATS[i : i + 4] for i in (0, 4, 8)), np.float32),
        (block(5, FLOATS[:4]) + b"\x2d" + FLOATS[4:8] + block(5, FLOATS[8:]), np.float32),
        (b"\xad\x00" + FLOATS[:4] + block(5, FLOATS[4:]), np.float32),  # an overlong tag
        (block(8, struct.pack("<3d", 1, 2, 3)), np.float64),
        (b"".join(b"\x41" + struct.pack("<d", x) for x in (1, 2, 3)), np.float64),
        # NVCaffe: raw_data_type, raw_data
        (b"\x50\x00" + block(12, struct.pack("<3d", 1, 2, 3)), np.float64),
        (b"\x50\x01" + block(12, FLOATS), np.float32),
        (block(12, struct.pack("<3e", 1, 2, 3)) + b"\x50\x02", np.float32),
        (b"\x50\x03" + block(12, struct.pack("<3i", 1, 2, 3)), np.float32),
        # Vitis-AI: mask, double_mask and format use the same numbers
        (block(10, FLOATS) + block(11, FLOATS) + b"\x60\x07" + block(5, FLOATS), np.float32),
    ],
)
@pytest.mark.parametrize("shape", [SHAPE_3, bytes([0x3A, 2, 0x08, 3])])
def test_values_are_found_however_they_are_stored(stored, dtype, shape):
    for data in (shape + stored, stored + shape):
        blob = only_blob(data)
        np.testing.assert_array_equal(blob.data, [1, 2, 3])
        assert blob.data.dtype == dtype
        assert blob.shape == (3,)


def test_long_unpacked_runs_are_read_whole():
    values = np.arange(1000, dtype="<f4")
    stored = b"".join(b"\x2d" + value.tobytes() for value in values)
    blob = only_blob(stored + block(7, block(1, varint(1000))) + b"\x35\0\0\0\0" * 1000)
    np.testing.assert_array_equal(blob.data, values)
    np.testing.assert_array_equal(blob.diff, np.zeros(1000))


def test_a_blob_without_shape_is_a_number_or_a_row():
    assert only_blob(block(5, FLOATS[:4])).shape == ()
    assert only_blob(block(5, FLOATS)).shape == (3,)
    assert only_blob(b"").shape == (0,)


def test_four_numbers_are_the_shape_where_any_is_given():
    blob = only_blob(bytes([8, 1, 16, 1, 24, 1, 32, 3]) + SHAPE_3 + block(5, FLOATS))
    assert blob.shape == (1, 1, 1, 3)
    assert blob.legacy_shape


def test_v0_layers_and_layers_without_blobs():
    inner = block(1, b"c") + block(2, b"conv") + block(50, block(5, FLOATS) + SHAPE_3)
    layers = parse(block(2, block(2, b"data"), block(1, inner)) + a_layer(name=b"empty"), "w")
    assert [(x.name, x.type, len(x.blobs)) for x in layers] == [
        ("c", "Convolution", 1),
        ("empty", "InnerProduct", 0),
    ]


def test_forks_layer_numbers_do_not_matter():
    data = block(
        100, b"\xc8\x06\x01", block(1, b"x"), block(149, b"\xff\xff"), block(7, block(5, FLOATS))
    )
    assert parse(data, "w")[0].blobs[0].shape == (3,)


# Writing.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 1, 5)])
def test_blobs_survive_writing_and_reading(dtype, shape):
    array = np.random.default_rng(1).normal(size=shape).astype(dtype)
    blob = decode_blob(encode_blob(array, -array), "blob")
    np.testing.assert_array_equal(blob.data, array)
    assert blob.shape == shape
    if array.size:
        assert blob.data.dtype == dtype
        np.testing.assert_array_equal(blob.diff, -array)
    message = pb.BlobProto.FromString(encode_blob(array, -array))
    assert list(message.shape.dim) == list(shape)
    assert list(message.double_diff if dtype is np.float64 else message.diff) == list(
        -array.ravel()
    )


def test_other_types_and_strides_become_float32_rows():
    array = np.arange(6, dtype=np.float16).reshape(2, 3).T
    blob = decode_blob(encode_blob(array), "blob")
    assert blob.data.dtype == np.float32
    np.testing.assert_array_equal(blob.data, array)


def test_private_fields_notes_and_old_blobs_are_not_written():
    layer = pb.LayerParameter(name="x", type="Upsample", source_file="f", blobs=[pb.BlobProto()])
    layer.upsample_param.scale = 3
    layer.unknown_param.add(name="a_param")
    written = b"".join(encode_net("n", [(layer, [BlobToWrite(np.ones(2, np.float32))])]))
    assert pb.NetParameter.FromString(written) == pb.NetParameter(
        name="n",
        layer=[
            pb.LayerParameter(
                name="x",
                type="Upsample",
                blobs=[pb.BlobProto(data=[1, 1], shape=pb.BlobShape(dim=[2]))],
            )
        ],
    )
    assert layer.upsample_param.scale == 3


def test_a_net_that_protobuf_could_not_read_back_is_refused(monkeypatch):
    monkeypatch.setattr(weights, "MAX_MESSAGE", 99)
    layer = pb.LayerParameter(name="x")
    with pytest.raises(WeightsError, match=r"net 'n': expected at most 99 bytes.*HDF5"):
        encode_net("n", [(layer, [BlobToWrite(np.zeros(100, np.float32))])])


# Refusals.


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            a_layer(SHAPE_3 + block(5, FLOATS))[:-2],
            "byte 0: expected 39 bytes of field 100, got 37."
            " The file is cut off or damaged: fetch it again.",
        ),
        (
            a_layer(b"", SHAPE_3 + block(5, FLOATS[:8])),
            "byte 25: layer 'ip', blob 1: expected 3 values for shape (3,), got 2."
            " The file is damaged.",
        ),
        (
            a_layer(SHAPE_3),
            "byte 23: layer 'ip', blob 0: expected 3 values for shape (3,), got 0."
            " The file is damaged.",
        ),
        (
            a_layer(block(5, FLOATS + b"\0")),
            "byte 23: layer 'ip', blob 0: expected a multiple of 4 bytes of numbers, got 13.",
        ),
        (
            a_layer(SHAPE_3 + block(5, FLOATS) + block(6, FLOATS[:4])),
            "byte 23: layer 'ip', blob 0: expected 3 gradients, got 1. The file is damaged.",
        ),
        (
            a_layer(block(7, block(1, varint((1 << 64) - 1)))),
            "byte 23: layer 'ip', blob 0: expected at most 32 sizes from 0 up as shape,"
            " got (-1,). The file is damaged.",
        ),
        (
            a_layer(block(7, block(1, varint(1 << 40) + b"\0"))),
            "byte 23: layer 'ip', blob 0: expected at most 32 sizes from 0 up as shape,"
            " got (1099511627776, 0). The file is damaged.",
        ),
        (
            a_layer(b"\x50\x09" + block(12, FLOATS)),
            "byte 25: layer 'ip', blob 0: expected raw numbers of type 0 to 4, got type 9.",
        ),
        (
            b"\x08\x05",
            "byte 0: expected a block of bytes as field 1, got a varint."
            " The file is damaged, or of another kind.",
        ),
        (b"\x0b", "byte 0: expected a field, got wire type 3." + REMEDY),
        (b"\x00\x00", "byte 0: expected a field, got number 0." + REMEDY),
        (
            b"\xff" * 11,
            "byte 0: expected a number, got more than 10 bytes of one. The file is damaged.",
        ),
        (b"\xff", "byte 0: expected a number, got the end of the data. The file is cut off."),
    ],
)
def test_damaged_files_are_refused_with_byte_and_layer(data, message):
    assert refusal(data) == f"w.caffemodel: {message}"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b'name: "LeNet"\nlayer {\n', "a text file: give the binary file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file: give it a name that ends in .h5"),
        (b"PK\x03\x04\0\0", "a zip archive: weights of another framework, or to be unpacked first"),
        (b"<!DOCTYPE html>", "a web page or XML: fetch the file itself"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer: fetch the file itself with 'git lfs pull'",
        ),
    ],
)
def test_other_kinds_of_files_are_recognised(data, what):
    assert refusal(data) == f"w.caffemodel: expected a .caffemodel, got {what}."


def test_files_that_cannot_be_read_are_named(tmp_path):
    def message(path) -> str:
        with pytest.raises(WeightsError) as error:
            read(path)
        return str(error.value).removeprefix(str(path))

    assert message(tmp_path / "none") == ": there is no such file. Fix the path."
    assert message(tmp_path) == ": expected a file, got a folder. Name the file in it."
    (tmp_path / "empty").touch()
    assert message(tmp_path / "empty").startswith(": expected a .caffemodel, got an empty file.")


# Robustness.

FEW = settings(max_examples=200, deadline=None)


@FEW
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for source in (data, block(100, data), block(2, data), a_layer(data)):
        with suppress(WeightsError):
            parse(source, "w")


@FEW
@given(st.data())
def test_a_damaged_file_is_read_or_refused(data):
    net = bytearray(
        b"".join(
            encode_net(
                "n",
                [(pb.LayerParameter(name="x"), [BlobToWrite(np.ones((2, 3)), np.ones((2, 3)))])],
            )
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        net[data.draw(st.integers(0, len(net) - 1))] = data.draw(st.integers(0, 255))
    with suppress(WeightsError):
        parse(bytes(net[: data.draw(st.integers(0, len(net)))]), "w")


def test_alternating_short_runs_do_not_take_quadratic_time():
    data = (b"\x2d\0\0\0\0" + b"\x35\0\0\0\0") * 20000
    assert only_blob(data + block(7, block(1, varint(20000)))).diff is not None
