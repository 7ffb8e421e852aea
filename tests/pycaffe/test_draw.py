"""caffe.draw: nets as pictures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf import text_format

import caffe.draw
from caffe.proto import caffe_pb2
from caffepy.engine.core.errors import DataError, DeviceError

NET = """
name: "net"
layer { name: "data" type: "Data" top: "x" top: "label" data_param { batch_size: 8 }
  include { phase: TRAIN } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 20 kernel_size: 5 stride: 2 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 3 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 10 } }
layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss"
  exclude { phase: TEST } }
"""


@pytest.fixture
def net() -> caffe_pb2.NetParameter:
    return text_format.Merge(NET, caffe_pb2.NetParameter())


def layer(net: caffe_pb2.NetParameter, name: str) -> caffe_pb2.LayerParameter:
    return next(layer for layer in net.layer if layer.name == name)


def test_labels_tell_of_windows_and_learning_rates(net: caffe_pb2.NetParameter) -> None:
    conv = layer(net, "conv")
    told = "conv (Convolution) kernel size: 5 stride: 2 pad: 1"
    assert caffe.draw.get_layer_label(conv, "LR") == told
    assert caffe.draw.get_layer_label(conv, "TB") == told.replace(" (", r"\n(").replace(
        " kernel", r"\nkernel"
    ).replace(" stride", r"\nstride").replace(" pad", r"\npad")
    assert caffe.draw.get_layer_label(conv, "LR", True) == f"{told} lr mult: 1.0, 2.0"
    pool = caffe.draw.get_layer_label(layer(net, "pool"), "LR", True)
    assert pool == "pool (AVE Pooling) kernel size: 3 stride: 1 pad: 0"
    assert caffe.draw.get_layer_label(layer(net, "relu"), "LR") == "relu (ReLU)"


def test_edges_tell_of_batches_and_outputs(net: caffe_pb2.NetParameter) -> None:
    labels = {one.name: caffe.draw.get_edge_label(one) for one in net.layer}
    assert labels["data"] == "Batch 8"
    assert labels["conv"] == "20"
    assert labels["ip"] == "10"
    assert labels["relu"] == ""


def test_learning_rates_are_those_of_learning_layers(net: caffe_pb2.NetParameter) -> None:
    assert caffe.draw.get_layer_lr_mult(layer(net, "conv")) == (1, 2)
    assert caffe.draw.get_layer_lr_mult(layer(net, "ip")) == (1, 1)
    with pytest.raises(ValueError, match=r"layer 'relu' \(ReLU\)"):
        caffe.draw.get_layer_lr_mult(layer(net, "relu"))


def test_pooling_types_and_colors_are_named() -> None:
    assert caffe.draw.get_pooling_types_dict()[1] == "AVE"
    colors = map(caffe.draw.choose_color_by_layertype, ("Convolution", "Pooling", "ReLU"))
    assert len(set(colors)) == 3


def test_the_graph_has_every_layer_and_blob(net: caffe_pb2.NetParameter) -> None:
    text = caffe.draw.get_dot_text(net, "BT")
    assert text.startswith('digraph "net" {\nrankdir=BT;\n')
    assert text.count("shape=box") == len(net.layer)
    assert text.count("shape=octagon") == 7
    assert '"x_blob" -> layer1;' in text
    assert 'layer1 -> "conv_blob" [label="20"];' in text
    assert '"20"' not in caffe.draw.get_dot_text(net, label_edges=False)


@pytest.mark.parametrize(("phase", "missing"), [(caffe.TRAIN, "acc"), (caffe.TEST, "data loss")])
def test_layers_of_the_other_phase_are_left_out(
    net: caffe_pb2.NetParameter, phase: int, missing: str
) -> None:
    text = caffe.draw.get_dot_text(net, phase=phase)
    for one in net.layer:
        assert (f'"{one.name} (' in text) == (one.name not in missing.split())


def test_a_net_in_the_old_form_is_drawn() -> None:
    old = 'layers { name: "r" type: RELU bottom: "x" top: "y" }'
    text = caffe.draw.get_dot_text(text_format.Merge(old, caffe_pb2.NetParameter()))
    assert 'label="r (ReLU)"' in text


def test_the_text_itself_needs_no_graphviz(net: caffe_pb2.NetParameter, tmp_path: Path) -> None:
    path = tmp_path / "net.dot"
    caffe.draw.draw_net_to_file(net, str(path), "TB", display_lrm=True)
    assert path.read_text() == caffe.draw.get_dot_text(net, "TB", display_lrm=True)


def test_a_picture_is_graphviz_work(
    net: caffe_pb2.NetParameter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def run(command: list[str], **kwargs: object) -> SimpleNamespace:
        calls.append(command)
        return SimpleNamespace(returncode=0, stdout=b"picture", stderr=b"")

    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    caffe.draw.draw_net_to_file(net, tmp_path / "net.PNG")
    assert (tmp_path / "net.PNG").read_bytes() == b"picture"
    assert calls == [["/bin/dot", "-Tpng"]]


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_graphviz_takes_the_text(net: caffe_pb2.NetParameter) -> None:
    assert b"<svg" in caffe.draw.draw_net(net, ext="svg")
    with pytest.raises(DeviceError, match="'nonsense': Graphviz cannot"):
        caffe.draw.draw_net(net, ext="nonsense")


def test_what_is_missing_is_named(
    net: caffe_pb2.NetParameter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(DeviceError, match="'png': Graphviz' program dot is missing"):
        caffe.draw.draw_net_to_file(net, tmp_path / "net.png")
    with pytest.raises(DeviceError, match="pip install pydot"):
        caffe.draw.get_pydot_graph(net)
    assert not (tmp_path / "net.png").exists()


def test_a_place_that_cannot_be_written_and_a_wrong_direction_are_refused(
    net: caffe_pb2.NetParameter, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"net\.dot"):
        caffe.draw.draw_net_to_file(net, tmp_path / "missing" / "net.dot")
    with pytest.raises(ValueError, match="rankdir: expected one of LR, RL, TB, BT, got UP"):
        caffe.draw.draw_net(net, "UP", "dot")
