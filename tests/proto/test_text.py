"""Reading and writing prototxt."""

from __future__ import annotations

import time

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import text
from caffepy.proto.errors import PrototxtError, place, type_place

LENET = """\
name: "LeNet"
layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"  # a comment
  top: "conv1"
  param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } }
}
layer {
  name: "pool1"
  type: "Pooling"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 }
}
"""


def net(source: bytes | str) -> pb.NetParameter:
    return text.parse(source, pb.NetParameter, "n.prototxt")


def solver(source: bytes | str) -> pb.SolverParameter:
    return text.parse(source, pb.SolverParameter, "s.prototxt")


# What is read.


def test_equals_what_protobuf_reads(golden):
    files = sorted(golden.glob("nets/*/*.prototxt")) + sorted(golden.glob("formats/*/*.prototxt"))
    assert len(files) > 40
    for file in files:
        kind = pb.SolverParameter if file.name.startswith("solver") else pb.NetParameter
        source = file.read_bytes().decode("utf-8", "replace")
        assert text.strip_notes(text.read(file, kind)) == text_format.Parse(source, kind()), file


@pytest.mark.parametrize("ending", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "latin-1"])
def test_any_encoding_and_line_end(encoding, ending):
    # A word that exists in all of them; its bytes differ.
    source = LENET.replace("a comment", "\u00b7").replace("\n", ending).encode(encoding)
    assert text.strip_notes(net(source)) == text.strip_notes(net(LENET))


def test_comments_in_gbk_do_no_harm():
    assert net("# 数据层\nname: 'x'".encode("gbk")).name == "x"


def test_names_in_utf8_are_kept_and_in_other_bytes_are_latin1():
    assert net("name: '数据'").name == "数据"
    assert net(b"name: 'caf\xe9'").name == "café"


@pytest.mark.parametrize(
    "source",
    [
        'layer{name:"a"top:"x"top:"y"}',
        "layer: { name: 'a' top: 'x' top: 'y' }",
        'layer <\tname: "a", top: "x"; top: "y", >;',
        'layer [ { name: "a" top: ["x", "y"] } ]',
        "layer: [ < name: 'a' top: [] top: ['x'] top: 'y' > ],",
        'layer { name: "" \'a\' top: "x"\n"" top: "\\x79" } # end',
    ],
)
def test_every_way_to_write_a_message(source):
    assert text.strip_notes(net(source)) == pb.NetParameter(
        layer=[pb.LayerParameter(name="a", top=["x", "y"])]
    )


def test_an_empty_list_of_messages_gives_none():
    assert not net("layer: []").layer


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1", 1),
        ("1.", 1),
        (".5", 0.5),
        ("-5e-1", -0.5),
        ("2f", 2),
        ("- 1E+2", -100),
        ("inf", float("inf")),
    ],
)
def test_numbers(source, value):
    assert solver(f"base_lr: {source}").base_lr == value


def test_nan_is_a_number():
    assert solver("base_lr: nan").base_lr != solver("base_lr: nan").base_lr


@pytest.mark.parametrize(("source", "value"), [("0x1F", 31), ("017", 15), ("0", 0), ("-7", -7)])
def test_whole_numbers(source, value):
    assert solver(f"max_iter: {source}").max_iter == value


@pytest.mark.parametrize(
    ("source", "value"),
    [("true", True), ("True", True), ("1", True), ("t", True), ("false", False), ("0", False)],
)
def test_truth_values(source, value):
    assert solver(f"snapshot_diff: {source}").snapshot_diff is value


@pytest.mark.parametrize("source", ["ADAM", "5", '"ADAM"', "'ADAM'"])
def test_enum_values_by_name_number_and_quoted_name(source):
    assert solver(f"solver_type: {source}").solver_type == pb.SolverParameter.ADAM


def test_v1_types_in_quotes():
    assert net("layers { type: 'CONVOLUTION' }").layers[0].type == pb.V1LayerParameter.CONVOLUTION


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (r'"a\nb\t\"\'\\\101\x41"', "a\nb\t\"'\\AA"),
        (r'"C:\data\new"', r"C:\data\new"),  # \n is no line feed behind a drive letter
        (r'"C:\\data\\new"', r"C:\data\new"),
        ('"C:\\data\\"', "C:\\data\\"),  # nor does the last backslash escape the quote
        (r"'..\train\new'", r"..\train\new"),
        (r'"data\dir\new"', r"data\dir\new"),  # \d is no escape, so none is
        (r'"say \"\d\""', r'say "\d"'),
        (r'"\\server\share"', r"\\server\share"),
        (r'"models\net"', "models\net"),  # ambiguous: as protobuf reads it
        (r'"\u00e9\U0001F600"', "é😀"),
        (r'"\351"', "é"),
    ],
)
def test_strings_and_windows_paths(source, value):
    assert solver(f"net: {source}").net == value


def test_bytes_fields_take_any_byte():
    datum = text.parse(r'data: "\000\377a"', pb.Datum)
    assert datum.data == b"\x00\xffa"


# Places.


def test_layers_know_their_file_and_line():
    layers = net(LENET).layer
    assert [(x.source_file, x.source_line) for x in layers] == [
        ("n.prototxt", 2),
        ("n.prototxt", 10),
    ]
    assert place(layers[1]) == "n.prototxt:10: layer 'pool1' (Pooling)"
    assert place(pb.LayerParameter(name="x")) == "layer 'x'"


def test_layers_inside_a_solver_know_their_line_too():
    layer = solver("net_param {\n layers { name: 'a' type: RELU } }").net_param.layers[0]
    assert place(layer) == "s.prototxt:2: layer 'a' (RELU)"


def test_the_index_gives_the_line_of_every_field(tmp_path):
    file = tmp_path / "n.prototxt"
    file.write_text(LENET)
    _, index = text.read_indexed(file, pb.NetParameter)
    assert index.line(("layer", 1, "pooling_param", 0, "kernel_size", 0)) == 13
    assert index.line(("layer", 0, "param", 1, "lr_mult", 0)) == 7
    assert index.line(("layer", 1)) == 10
    assert index.where(("layer", 1, "name", 0)) == f"{file}:11:3"
    # A field that was not given: where its message stands.
    assert index.line(("layer", 1, "pooling_param", 0, "pad", 0)) == 13
    assert index.line(("layer", 7, "name", 0)) == 1


# Unknown blocks.


def test_an_unknown_block_of_a_layer_is_kept_and_written_back():
    source = (
        'layer { name: "s" type: "Sin"\n sin_param\n {\n  frequency: 2 # "}\n'
        '  sub { a: "}" } } top: "x" }'
    )
    read = net(source)
    block = read.layer[0].unknown_param[0]
    assert (block.name, block.line) == ("sin_param", 3)
    assert block.text == '\n  frequency: 2 # "}\n  sub { a: "}" } '
    assert list(read.layer[0].top) == ["x"]
    assert net(text.write(read)).layer[0].unknown_param[0].text == block.text


def test_an_unknown_block_may_have_a_colon_and_stand_in_a_v1_layer():
    assert net("layers { sin_param: < a: 1 >; }").layers[0].unknown_param[0].text == " a: 1 "


# Writing.


def test_writes_as_caffe_prints():
    message = pb.NetParameter(
        name='a"\\\n\x01é',
        force_backward=True,
        layer=[
            pb.LayerParameter(
                name="x",
                loss_weight=[1, 0.1, 1e-8, 3e9, float("inf")],
                source_file="f",
                source_line=1,
                pooling_param=pb.PoolingParameter(pool="AVE"),
            )
        ],
    )
    assert text.write(message) == (
        'name: "a\\"\\\\\\n\\001é"\n'
        "force_backward: true\n"
        "layer {\n"
        '  name: "x"\n'
        "  loss_weight: 1\n"
        "  loss_weight: 0.1\n"
        "  loss_weight: 1e-08\n"
        "  loss_weight: 3e+09\n"
        "  loss_weight: inf\n"
        "  pooling_param {\n"
        "    pool: AVE\n"
        "  }\n"
        "}\n"
    )


def test_an_empty_message_is_an_empty_text():
    assert text.write(pb.NetParameter()) == ""
    assert net("") == pb.NetParameter()


# Robustness.

FEW = settings(max_examples=150, deadline=None)
WORDS = (
    "layer{ layers{ } name: 'a' \" ' x_param{ { < > [ ] : , pool:MAX kernel_size:3 1.5 - 0x # \\"
    ' "C:\\ type: RELU é solver_type: ADAM net_param{ input_dim: 010 .5 inf'
)
PIECES = st.sampled_from([*WORDS.split(), "\n", " "])


def refused_or_stable(source: bytes | str) -> None:
    """Reads, or raises PrototxtError; what was read is written and read again without change."""
    for kind in (pb.NetParameter, pb.SolverParameter):
        try:
            message = text.parse(source, kind)
        except PrototxtError:
            continue
        again = text.parse(text.write(message), kind)
        assert text.write(again) == text.write(message)


@FEW
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(source):
    refused_or_stable(source)


@FEW
@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_mixture_of_prototxt_is_read_or_refused(source):
    refused_or_stable(source)


@FEW
@given(st.data())
def test_a_damaged_net_is_read_or_refused(data):
    source = bytearray(LENET.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(source) - 1))
        source[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=3))
    refused_or_stable(bytes(source))


@FEW
@given(st.text(), st.lists(st.floats(width=32, allow_nan=False)), st.binary())
def test_any_value_survives_writing_and_reading(name, weights, data):
    message = pb.NetParameter(name=name, layer=[pb.LayerParameter(loss_weight=weights)])
    assert text.strip_notes(text.parse(text.write(message), pb.NetParameter)) == message
    datum = pb.Datum(data=data)
    assert text.parse(text.write(datum), pb.Datum) == datum


def test_a_net_of_five_thousand_lines_takes_less_than_a_second():
    layer = LENET.split("\n", 1)[1]
    source = layer * (5000 // layer.count("\n"))
    start = time.perf_counter()
    text.parse(source, pb.NetParameter)
    assert time.perf_counter() - start < 1


def test_a_layer_knows_where_its_type_stands() -> None:
    net = text.parse('layer {\n  name: "x"\n  type: "ReLU" }\nlayer { }', pb.NetParameter, "a.txt")
    assert [layer.source_type for layer in net.layer] == ["a.txt:3:9", ""]
    assert type_place(net.layer[0]) == "a.txt:3:9: layer 'x'"
    assert type_place(net.layer[1]) == "a.txt:4: layer ''"
