"""net.summary(), and how nets, solvers and blobs show in a notebook."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import caffepy
import caffepy.pycaffe as caffe
from caffepy.engine.summary import MOST_LETTERS, LayerSummary, Summary
from tests.pycaffe.nets import SOLVER, TRAIN_NET, TWO_HEADS, open_text
from tests.python_layers import python_layer, write_modules

DOUBLE = """
import caffe

class Double(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top): top[0].data[...] = 2 * bottom[0].data
"""


def layer(text: str, shape: str = "dim: 2 dim: 6 dim: 9 dim: 8") -> str:
    """A net of an input `x` and what is given."""
    return (
        f'layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {shape} }} }} }}{text}'
    )


def summary_of(folder: Path, definition: str, phase: int = caffe.TEST) -> Summary:
    with open_text(folder, definition, phase) as net:
        return net.summary()


def rows(summary: Summary) -> dict[str, LayerSummary]:
    return {row.name: row for row in summary.layers}


# ---- multiply-adds


@pytest.mark.parametrize(
    ("net", "millions", "parameters"),
    [
        ("alexnet_deploy", 724.4, 60_965_224),
        ("googlenet_deploy", 1582.7, 6_998_552),
        ("mobilenet_deploy", 568.7, 4_253_891),
        ("squeezenet11_train_val", 387.7, 1_235_496),
    ],
)
def test_published_figures_are_met(
    net: str, millions: float, parameters: int, golden: Path
) -> None:
    with caffepy.Net(golden / "nets" / net / "net.prototxt", phase="TEST") as opened:
        told = opened.summary()
    assert told.multiply_adds / (told.batch or 0) / 1e6 == pytest.approx(millions, abs=0.05)
    assert told.parameters == parameters


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 group: 2 pad: 1 }',
         2 * 4 * 9 * 8 * 3 * 3 * 3),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 dilation: 2 }',
         2 * 4 * 5 * 4 * 6 * 3 * 3),
        ('type: "Convolution" convolution_param { num_output: 4 kernel_size: 1 axis: 2 }',
         2 * 6 * 4 * 8 * 9),
        ('type: "Deconvolution" convolution_param { num_output: 4 kernel_size: 2 stride: 2 }',
         2 * 6 * 9 * 8 * 4 * 2 * 2),
        ('type: "Deconvolution" convolution_param { num_output: 6 kernel_size: 2 group: 6 }',
         2 * 6 * 9 * 8 * 2 * 2),
        ('type: "InnerProduct" inner_product_param { num_output: 5 }', 2 * 6 * 9 * 8 * 5),
        ('type: "InnerProduct" inner_product_param { num_output: 5 axis: 3 transpose: true }',
         2 * 6 * 9 * 8 * 5),
        ('type: "LRN"', 0),
        ('type: "Pooling" pooling_param { kernel_size: 2 }', 0),
        ('type: "BatchNorm"', 0),
        ('type: "Scale"', 0),
    ],
)  # fmt: skip
def test_products_with_weights_count(definition: str, expected: int, tmp_path: Path) -> None:
    told = summary_of(tmp_path, layer(f'layer {{ name: "y" bottom: "x" top: "y" {definition} }}'))
    assert rows(told)["y"].multiply_adds == told.multiply_adds == expected


def test_each_bottom_of_a_convolution_counts(tmp_path: Path) -> None:
    told = summary_of(
        tmp_path,
        layer(
            'layer { name: "y" type: "Convolution" bottom: "x" bottom: "x" top: "a" top: "b"'
            " convolution_param { num_output: 1 kernel_size: 1 } }"
        ),
    )
    assert told.multiply_adds == 2 * (2 * 6 * 9 * 8)
    assert rows(told)["y"].parameters == 6 + 1


@pytest.mark.parametrize(
    ("layer_type", "per_step"), [("LSTM", 4 * (5 + 3) * 3), ("RNN", (5 + 3) * 3 + 3 * 3)]
)
@pytest.mark.parametrize("static", [False, True])
def test_recurrent_layers_count_inputs_and_states(
    layer_type: str, per_step: int, static: bool, tmp_path: Path
) -> None:
    shapes = "shape { dim: 7 dim: 2 dim: 5 } shape { dim: 7 dim: 2 } shape { dim: 2 dim: 4 }"
    net = f"""
    layer {{ name: "in" type: "Input" top: "x" top: "cont" top: "s" input_param {{ {shapes} }} }}
    layer {{ name: "h" type: "{layer_type}" bottom: "x" bottom: "cont"
      {'bottom: "s"' if static else ""} top: "h" recurrent_param {{ num_output: 3 }} }}"""
    told = summary_of(tmp_path, net)
    gates = 4 if layer_type == "LSTM" else 1
    assert told.multiply_adds == 7 * 2 * per_step + static * 2 * gates * 3 * 4
    assert told.batch is None
    assert "samples" not in str(told)


def test_what_a_python_layer_multiplies_is_not_known(
    tmp_path: Path, modules_as_before: None
) -> None:
    write_modules(tmp_path, doubling=DOUBLE)
    told = summary_of(tmp_path, layer(python_layer("Double", 'bottom: "x" top: "y"', "doubling")))
    assert rows(told)["Double"].multiply_adds is None
    assert told.multiply_adds == 0
    assert "Multiply-adds are not known, and not in the total, of: Double" in str(told)


# ---- shapes, parameters, memory


def test_a_train_net_counts_gradients(tmp_path: Path) -> None:
    told = summary_of(tmp_path, TRAIN_NET, caffe.TRAIN)
    sizes = {"data": 120, "label": 5, "conv": 5 * 11 * 8 * 9, "ip": 65, "loss": 1}
    floats = {kind: taken // 4 for kind, taken in told.memory.items()}
    learnt = (11 * 2 * 2 * 2 + 11) + (13 * 11 * 8 * 9 + 13)
    assert floats["data"] == sum(sizes.values())
    assert floats["parameters"] == floats["their gradients"] == learnt == told.parameters
    assert told.memory_bytes == sum(row.memory_bytes for row in told.layers)
    assert rows(told)["ip"].tops == (("ip_blob", (5, 13)),)
    assert (told.phase, told.batch) == ("TRAIN", 5)


def test_added_split_layers_count_with_what_they_split(tmp_path: Path) -> None:
    for phase in (caffe.TEST, caffe.TRAIN):
        told = summary_of(tmp_path, TWO_HEADS, phase)
        assert list(rows(told)) == ["in", "a", "relu", "b"]
        assert told.memory_bytes == sum(row.memory_bytes for row in told.layers)


def test_shared_parameters_count_once(tmp_path: Path) -> None:
    heads = "".join(
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "x" top: "{name}" '
        'param { name: "w" } inner_product_param { num_output: 2 bias_term: false } }'
        for name in "ab"
    )
    told = summary_of(tmp_path, layer(heads, "dim: 3 dim: 4"))
    assert [row.parameters for row in told.layers] == [0, 8, 0]
    assert told.parameters == 8


def test_a_summary_follows_a_reshaped_input(tmp_path: Path) -> None:
    with open_text(tmp_path, TWO_HEADS) as net:
        before = net.summary()
        net.blobs["x"].reshape(8, 3)
        after = net.summary()
    assert rows(after)["b"].tops == (("b", (8, 5)),)
    assert after.multiply_adds == 2 * before.multiply_adds
    assert after.batch == 8


# ---- how it looks


def test_a_summary_prints_as_a_table(tmp_path: Path) -> None:
    told = summary_of(tmp_path, TWO_HEADS)
    assert repr(told) == str(told)
    assert str(told).splitlines() == [
        "Net 'heads' (TEST), 4 samples a pass",
        "",
        "layer     type          top  shape   parameters  multiply-adds     memory",
        "-------------------------------------------------------------------------",
        "in        Input         x    (4, 3)           -              -   48 bytes",
        "a         InnerProduct  a    (4, 2)           8             24   64 bytes",
        "relu      ReLU          a    (4, 2)           -              -          -",
        "b         InnerProduct  b    (4, 5)          20             60  160 bytes",
        "-------------------------------------------------------------------------",
        "4 layers                                     28             84  272 bytes",
        "",
        "Multiply-adds for one sample: 21",
        "Memory: data 160 bytes, parameters 112 bytes",
    ]


def test_long_and_strange_names_and_many_layers_keep_the_table_narrow(tmp_path: Path) -> None:
    count = 1000
    name = "block_{0}/" + "very_long_" * 20 + "{0}\\n<i>"
    text = layer("", "dim: 1 dim: 2") + "".join(
        f'layer {{ name: "{name.format(i)}" type: "ReLU" bottom: "x" top: "x" }}'
        for i in range(count)
    )
    told = summary_of(tmp_path, text)
    lines = str(told).splitlines()
    assert len(lines) == count + 1 + 8
    assert max(map(len, lines)) < 2 * MOST_LETTERS + 60
    assert len({line.split()[0] for line in lines[5 : count + 5]}) == count
    assert "<i>" not in told._repr_html_()
    assert "very_long_" * 20 in told._repr_html_()


class Tags(HTMLParser):
    """Checks that what is opened is closed; collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def read(shown: str) -> str:
    """The text of HTML that is well formed."""
    tags = Tags()
    tags.feed(shown)
    tags.close()
    assert not tags.open
    return tags.text


def test_names_are_escaped_in_a_notebook(tmp_path: Path) -> None:
    evil = "<script>alert('&amp;')</script>"
    text = f'name: "{evil}"' + layer("").replace('"x"', f'"{evil}"').replace('"in"', f'"{evil}"')
    with open_text(tmp_path, text) as net:
        for shown in (net.summary(), net, net.blobs[evil]):
            told = shown._repr_html_()
            assert "<script>" not in told
            assert html.escape(evil) in told
            assert evil in read(told)


def test_a_net_tells_a_notebook_what_goes_in_and_out(tmp_path: Path) -> None:
    with open_text(tmp_path, TWO_HEADS) as net:
        told = read(net._repr_html_())
    assert told.splitlines() == [
        "Net 'heads' (TEST)",
        "inputs", "x (4, 3)", "outputs", "a (4, 2), b (4, 5)",
        "layers", "4 in the prototxt; net.summary() lists them", "parameters", "28",
    ]  # fmt: skip


def test_a_blob_tells_a_notebook_its_range(tmp_path: Path) -> None:
    with open_text(tmp_path, TWO_HEADS) as net:
        blob = net.blobs["x"]
        assert read(blob._repr_html_()).splitlines()[:3] == ["Blob 'x'", "shape", "(4, 3) float32"]
        blob.data[...] = np.arange(12).reshape(4, 3)
        assert "0 to 11, mean 5.5" in read(blob._repr_html_())
        blob.diff[...] = np.nan
        assert "nan to nan" in read(blob._repr_html_())
        assert repr(net.params["a"]) == (
            "BlobVec([Blob('a.0', shape=(2, 3)), Blob('a.1', shape=(2,))])"
        )


def test_showing_a_blob_takes_no_memory_for_it(tmp_path: Path) -> None:
    with open_text(tmp_path, TWO_HEADS) as net:
        net.blobs["b"]._repr_html_()
        assert not net.blobs["b"]._blob.diff.allocated


def test_a_solver_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(TRAIN_NET)
    lines = [f"{name}: {value!r}".replace("False", "false") for name, value in SOLVER.items()]
    (tmp_path / "solver.prototxt").write_text("\n".join(lines))
    with caffepy.Solver("solver.prototxt") as solver:
        solver.step(4)
        assert repr(solver) == ("Solver('solver.prototxt', SGD, iteration 4 of 6, net 'trained')")
        told = read(solver._repr_html_())
    assert re.search("iteration\n4 of 6\nlearning rate\n0.005 \\(step\\)\nnet\n'trained', 4", told)
    assert "test net\n" in told
