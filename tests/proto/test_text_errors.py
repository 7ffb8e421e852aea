"""What a mistaken prototxt is told: place, reason and remedy."""

from __future__ import annotations

import pytest

from caffepy.proto import caffe_pb2 as pb
from caffepy.proto import text
from caffepy.proto.errors import PrototxtError


def refusal(source: bytes | str, kind=pb.NetParameter) -> str:
    with pytest.raises(PrototxtError) as error:
        text.parse(source, kind, "n.prototxt")
    return str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            'layer {\n  name: "conv1"\n  convolution_param { kernal_size: 3 }\n}',
            "n.prototxt:3:23: layer 'conv1': 'kernal_size' is not a field of ConvolutionParameter."
            " Did you mean 'kernel_size'?",
        ),
        (
            'layer {\n  convolution_param { kernal_size: 3 }\n  name: "conv1" }',
            "n.prototxt:2:23: layer 'conv1': 'kernal_size' is not a field of ConvolutionParameter."
            " Did you mean 'kernel_size'?",
        ),
        (
            "foo_param { }",
            "n.prototxt:1:1: 'foo_param' is not a field of NetParameter."
            " Remove it, or correct its name.",
        ),
        (
            "layer { sin_param: 3 }",
            "n.prototxt:1:9: 'sin_param' is not a field of LayerParameter."
            " Remove it, or correct its name.",
        ),
        (
            "layer { transform_param { sin_param { } } }",
            "n.prototxt:1:27: 'sin_param' is not a field of TransformationParameter."
            " Remove it, or correct its name.",
        ),
        (
            "base_lr: 0.1",
            "n.prototxt:1:1: 'base_lr' is not a field of NetParameter."
            " It belongs to a solver: is this the right file?",
        ),
        (
            'layer {\n  name: "a"\nlayer { name: "b" }',
            "n.prototxt:3:1: layer 'a': 'layer' is not a field of LayerParameter."
            " Or is the '}' of 'layer' missing, opened in line 1?",
        ),
        (
            "layer {\n  convolution_param {\n",
            "n.prototxt:2:21: the '{' of 'convolution_param' is not closed by the end of file."
            " Close it.",
        ),
        (
            "layer { sin_param { a { }\n",
            "n.prototxt:1:19: the '{' of 'sin_param' is not closed by the end of file. Close it.",
        ),
        (
            "layer { } }",
            "n.prototxt:1:11: '}' closes nothing: all blocks are closed already. Remove it.",
        ),
        (
            "layer {\n >",
            "n.prototxt:2:2: 'layer' was opened with '{' in line 1: expected '}', got '>'."
            " Write '}'.",
        ),
        (
            'name: "abc\nlayer { }',
            "n.prototxt:1:7: the string '\"abc' is not closed on its line. End it with a quote.",
        ),
        (
            "layer { convolution_param { num_output: } }",
            "n.prototxt:1:41: num_output: expected a whole number, got nothing."
            " Give num_output a value.",
        ),
        (
            "name:",
            "n.prototxt:1:6: name: expected a quoted string, got the end of the file."
            " Give name a value.",
        ),
        (
            "layer { convolution_param { num_output: 1.5 } }",
            "n.prototxt:1:41: num_output: expected a whole number, got '1.5'. Correct it.",
        ),
        (
            "layer { convolution_param { num_output: -1 } }",
            "n.prototxt:1:41: num_output: expected a whole number, got '-1'."
            " A uint32 is from 0 to 4294967295.",
        ),
        (
            "input_dim: 09",
            "n.prototxt:1:12: input_dim: expected a whole number, got '09'."
            " A leading 0 means an octal number: leave it out.",
        ),
        (
            "input_dim: [1, 2 3]",
            "n.prototxt:1:18: input_dim: expected ',' or ']', got '3'. Put one there.",
        ),
        (
            "input_dim: [1,",
            "n.prototxt:1:15: input_dim: expected a whole number, got the end of"
            " the file. Give input_dim a value.",
        ),
        (
            "input_dim: [1",
            "n.prototxt:1:12: the '[' of 'input_dim' is not closed by the end of file. Close it.",
        ),
        (
            "layer { pooling_param { pool: MAXX } }",
            "n.prototxt:1:31: pool: expected one of MAX, AVE, STOCHASTIC, DEF, DEF_ALL, DEF_ALL2,"
            " DEF_ALL3, DEF_ALL4, LOWRES, got 'MAXX'. Did you mean 'MAX'?",
        ),
        (
            "force_backward: yes",
            "n.prototxt:1:17: force_backward: expected true or false, got 'yes'. Correct it.",
        ),
        (
            "layer { type: CONVOLUTION }",
            "n.prototxt:1:15: type: expected a quoted string, got 'CONVOLUTION'."
            ' Write type: "Convolution".',
        ),
        (
            "layer { loss_weight: x }",
            "n.prototxt:1:22: loss_weight: expected a number, got 'x'. Correct it.",
        ),
        (
            "layer { convolution_param { num_output 3 } }",
            "n.prototxt:1:40: expected ':' after 'num_output', got '3'."
            " Write 'num_output: ...', with a whole number.",
        ),
        (
            "name { }",
            "n.prototxt:1:6: expected ':' after 'name', got '{'."
            " Write 'name: ...', with a quoted string.",
        ),
        (
            "layer: 3",
            "n.prototxt:1:8: layer: expected a block { ... }, got '3'. Write layer { ... }.",
        ),
        (
            "name: 'a'\nname: 'b'",
            "n.prototxt:2:1: 'name' is given twice, first in line 1. Remove one.",
        ),
        (
            "layer { name: 'a' relu_param { }\n relu_param { } }",
            "n.prototxt:2:2: layer 'a': 'relu_param' is given twice, first in line 1. Remove one.",
        ),
        (
            "// comment\nname: 'a'",
            "n.prototxt:1:1: expected a field name, got '//'. A comment starts with '#'.",
        ),
        (
            "{{ name }}",
            "n.prototxt:1:1: expected a field name, got '{'."
            " The file looks like HTML or JSON: fetch it again, or give a prototxt.",
        ),
        (
            "name: 'a' \u00a0",
            "n.prototxt:1:11: expected a field name or value, got '\\xa0' (U+00A0). Remove it.",
        ),
        (
            "layer { source_line: 3 }",
            "n.prototxt:1:9: 'source_line' is not a field of LayerParameter."
            " Remove it, or correct its name.",
        ),
    ],
)
def test_mistakes_are_refused_with_place_reason_and_remedy(source, message):
    found = refusal(source)
    assert found == message


def test_unquoted_strings_are_refused_with_the_quoted_form():
    assert refusal("lr_policy: fixed", pb.SolverParameter) == (
        "n.prototxt:1:12: lr_policy: expected a quoted string, got 'fixed'."
        ' Write lr_policy: "fixed".'
    )


@pytest.mark.parametrize(
    "opening", ["layer {", "layer { a_param {", "[", "<", "{", "layer { a_param { b <"]
)
def test_deep_nesting_is_refused_not_overflowed(opening):
    refusal(opening * 20000)


def test_deep_nesting_in_an_unknown_block_is_only_kept():
    deep = "a {" * 20000 + "}" * 20000
    net = text.parse(f"layer {{ x_param {{{deep}}} }}", pb.NetParameter)
    assert net.layer[0].unknown_param[0].text == deep


def test_files_that_cannot_be_read_are_named(tmp_path):
    def message(path) -> str:
        with pytest.raises(PrototxtError) as error:
            text.read(path, pb.NetParameter)
        return str(error.value).removeprefix(str(path))

    assert message(tmp_path / "none.prototxt") == ": there is no such file. Fix the path."
    assert message(tmp_path) == ": expected a prototxt file, got a folder. Name the file in it."
    assert message("a\0b").startswith(": cannot be read: ")
    file = tmp_path / "net.prototxt"
    file.write_text("# nothing\n")
    assert message(file) == (
        ": expected a prototxt, got a file that is empty or holds only comments. Fix the path, or"
        " fill the file."
    )
    file.write_bytes(
        pb.NetParameter(name="x", layer=[pb.LayerParameter(phase=0)]).SerializeToString()
    )
    assert message(file).startswith(
        ": expected a text file, got binary data. It looks like a serial"
    )
    file.write_bytes(b"\xff\xfea")
    assert message(file) == ": starts as UTF-16 text but is none at byte 2. Save it as UTF-8."
