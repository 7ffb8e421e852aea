"""caffe.Net: how it is built, its names, its parameters and their files."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import caffepy.pycaffe as caffe
from caffepy.engine.core.errors import CaffepyError, NetError, WeightsError
from tests.pycaffe.nets import TRAIN_NET, TWO_HEADS, open_text, weights_of
from tests.python_layers import python_layer, write_modules

IP = 'layer {{ name: "{0}" type: "InnerProduct" bottom: "x" top: "{0}" {1} {2} }}'
ONE = "inner_product_param { num_output: 1 }"
INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }'
RULES = "\n".join(
    [
        INPUT,
        IP.format("always", "", ONE),
        IP.format("level0", "include { max_level: 0 }", ONE),
        IP.format("level1", "include { min_level: 1 }", ONE),
        IP.format("A", 'include { stage: "A" }', ONE),
        IP.format("AandB", 'include { stage: "A" stage: "B" }', ONE),
        IP.format("train", "include { phase: TRAIN }", ONE),
    ]
)


@pytest.fixture
def deploy(golden: Path) -> Path:
    return golden / "pyapi"


# ---- construction


def test_what_a_net_says_of_itself_is_what_pycaffe_says(deploy: Path) -> None:
    expected = json.loads((deploy / "pyapi.json").read_text())["net"]
    net = caffe.Net(str(deploy / "deploy.prototxt"), caffe.TEST)
    assert net.inputs == expected["inputs"]
    assert net.outputs == expected["outputs"]
    assert list(net.blobs) == net._blob_names == expected["blobs"]
    shapes = {name: [list(blob.shape) for blob in blobs] for name, blobs in net.params.items()}
    assert shapes == expected["params"]
    assert net._layer_names == expected["layer_names"]
    assert [layer.type for layer in net.layers] == expected["layer_types"]
    assert net.top_names == expected["top_names"]
    assert net.bottom_names == expected["bottom_names"]
    assert list(net.layer_dict) == net._layer_names
    assert net.layer_dict["fc"] is net.layers[3]


def test_a_net_prints_as_what_it_is(deploy: Path) -> None:
    net = caffe.Net(deploy / "deploy.prototxt", caffe.TEST)
    assert repr(net) == "Net('cls', TEST, 5 layers, inputs ['data'], outputs ['prob'])"
    assert repr(net.layers[1:3]) == "[Layer('c', Convolution, 2 blobs), Layer('r', ReLU, 0 blobs)]"


def test_split_layers_and_their_blobs_show_as_in_pycaffe(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    assert net._layer_names == ["in", "x_in_0_split", "a", "relu", "b"]
    assert net.layers[1].type == "Split"
    assert list(net.blobs) == ["x", "x_in_0_split_0", "x_in_0_split_1", "a", "b"]
    assert net.bottom_names["b"] == ["x_in_0_split_1"]
    assert isinstance(net.blobs, OrderedDict)


def test_loss_weights_are_told_of_every_blob(tmp_path: Path) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    assert dict(net.blob_loss_weights) == {
        "data": 0, "label": 0, "conv": 0, "ip_blob": 0, "loss": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "options", "layers"),
    [
        (caffe.TEST, {}, ["always", "level0"]),
        (caffe.TRAIN, {}, ["always", "level0", "train"]),
        (caffe.TEST, {"level": 1}, ["always", "level1"]),
        (caffe.TEST, {"stages": ["A"]}, ["always", "level0", "A"]),
        (caffe.TEST, {"stages": ("A", "B"), "level": 1}, ["always", "level1", "A", "AandB"]),
    ],
)
def test_phase_level_and_stages_choose_layers(
    phase: int, options: dict[str, object], layers: list[str], tmp_path: Path
) -> None:
    (tmp_path / "net.prototxt").write_text(RULES)
    net = caffe.Net(tmp_path / "net.prototxt", phase, **options)  # type: ignore[call-overload]
    assert list(net.params) == layers


def test_both_orders_of_arguments_load_weights(deploy: Path) -> None:
    prototxt, weights = str(deploy / "deploy.prototxt"), str(deploy / "deploy.caffemodel")
    new = caffe.Net(prototxt, caffe.TEST, weights=weights)
    old = caffe.Net(prototxt, weights, caffe.TEST)
    named = caffe.Net(network_file=prototxt, weights=weights, phase=caffe.TEST)
    for name, arrays in weights_of(new).items():
        for other in (old, named):
            np.testing.assert_array_equal(other.params[name][0].data, arrays[0])


def test_phases_have_names(deploy: Path) -> None:
    prototxt, weights = deploy / "deploy.prototxt", str(deploy / "deploy.caffemodel")
    nets = [
        caffe.Net(prototxt, "TEST", weights=weights),
        caffe.Net(prototxt, phase="TEST", weights=weights),
        caffe.Net(prototxt, weights, "TEST"),
        caffe.Net(prototxt, weights, phase="TEST"),
    ]
    first = weights_of(nets[0])["fc"][0]
    for net in nets:
        assert repr(net).startswith("Net('cls', TEST, ")
        np.testing.assert_array_equal(net.params["fc"][0].data, first)
    assert repr(caffe.Net(prototxt, "TRAIN")).startswith("Net('cls', TRAIN, ")
    with pytest.raises(TypeError, match=r"expected phase caffe\.TRAIN or caffe\.TEST, got None"):
        caffe.Net(prototxt)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"or caffe\.TEST, got 'TESTING'"):
        caffe.Net(prototxt, phase="TESTING")
    with pytest.raises(TypeError, match=r"or caffe\.TEST, got \['TEST'\]"):
        caffe.Net(prototxt, ["TEST"])


def test_blobs_have_the_numbers_of_pycaffes_compiled_part(tmp_path: Path) -> None:
    net = open_text(tmp_path, TWO_HEADS)
    assert net._blob_names == ["x", "x_in_0_split_0", "x_in_0_split_1", "a", "b"]
    assert net._blobs == list(net.blobs.values())
    assert [net._blob_names[index] for index in net._inputs] == net.inputs
    assert [net._blob_names[index] for index in net._outputs] == net.outputs
    for index, name in enumerate(net._layer_names):
        assert [net._blob_names[i] for i in net._top_ids(index)] == net.top_names[name]
        assert [net._blob_names[i] for i in net._bottom_ids(index)] == net.bottom_names[name]
    with pytest.raises(IndexError):
        net._top_ids(5)


def test_wrong_arguments_say_how_to_call(deploy: Path) -> None:
    file = str(deploy / "deploy.prototxt")
    with pytest.raises(TypeError, match=r"expected phase caffe\.TRAIN or caffe\.TEST, got 2"):
        caffe.Net(file, 2)
    with pytest.raises(TypeError, match=r"expected a phase, got none\. Write Net"):
        caffe.Net(file, "w.caffemodel")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"stages: expected a list of names, got 'ab'.*\['ab'\]"):
        caffe.Net(file, caffe.TEST, stages="ab")
    with pytest.raises(TypeError, match=r"argument, got 'weigths'\. Did you mean 'weights'\?"):
        caffe.Net(file, caffe.TEST, weigths="w.caffemodel")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"got \[1\]\. Write them in quotes"):
        caffe.Net(file, caffe.TEST, stages=[1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"level: expected a whole number, got 'w\.caffemodel'"):
        caffe.Net(file, caffe.TEST, "w.caffemodel")  # type: ignore[call-overload]
    for made in (caffe.NetSpec().to_proto(), RULES, None, b"deploy.prototxt"):
        with pytest.raises(TypeError, match=r"expected the name of a prototxt file, got .*first"):
            caffe.Net(made, caffe.TEST)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"got 'x'\. There are phase, level, stages, weights"):
        caffe.Net(file, "w.caffemodel", caffe.TEST, x=1)  # type: ignore[call-overload]


def test_what_cannot_be_built_is_a_python_exception(tmp_path: Path, deploy: Path) -> None:
    with pytest.raises(RuntimeError, match=r"none\.prototxt"):  # as pycaffe's
        caffe.Net(str(tmp_path / "none.prototxt"), caffe.TEST)
    with pytest.raises(CaffepyError, match=r"net.prototxt:[\d:]+ layer 'a': type 'Unheard'"):
        open_text(tmp_path, INPUT + '\nlayer { name: "a" type: "Unheard" bottom: "x" top: "a" }')
    with pytest.raises(WeightsError, match="there is no such file"):
        caffe.Net(str(deploy / "deploy.prototxt"), "none.caffemodel", caffe.TEST)


def test_relative_files_lie_beside_the_prototxt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    net = caffe.Net(golden / "solvers" / "sgd_fixed" / "net.prototxt", caffe.TRAIN)
    assert net.forward()["loss"] > 0


def test_the_users_own_layer_is_the_object_of_its_class(
    tmp_path: Path, modules_as_before: None
) -> None:
    write_modules(tmp_path)
    net = open_text(tmp_path, python_layer("Counting", 'top: "y"'))
    assert type(net.layers[0]).__name__ == "Counting"
    assert isinstance(net.layers[0], caffe.Layer)


def test_what_the_users_layer_raises_comes_out_as_it_was(
    tmp_path: Path, modules_as_before: None
) -> None:
    (tmp_path / "failing.py").write_text(
        "import caffe\n\n\nclass Failing(caffe.Layer):\n"
        "    def setup(self, bottom, top):\n        pass\n\n"
        "    reshape = setup\n\n"
        "    def forward(self, bottom, top):\n        raise LookupError('mine')\n"
    )
    net = open_text(
        tmp_path,
        'layer { name: "f" type: "Python" top: "y" '
        'python_param { module: "failing" layer: "Failing" } }',
    )
    with pytest.raises(LookupError, match="mine") as caught:
        net.forward()
    assert caught.value.__context__ is None


# ---- parameters and their files


@pytest.mark.parametrize("hdf5", [False, True])
def test_what_is_saved_is_loaded(hdf5: bool, tmp_path: Path) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    net.params["ip"][1].data[...] = np.arange(13)
    path = str(tmp_path / "weights")
    (net.save_hdf5 if hdf5 else net.save)(path)
    other = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    (other.load_hdf5 if hdf5 else other.copy_from)(path)
    for name, arrays in weights_of(net).items():
        for blob, array in zip(other.params[name], arrays, strict=True):
            np.testing.assert_array_equal(blob.data, array)


def test_a_file_that_cannot_be_written_or_read_is_an_error(tmp_path: Path) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    with pytest.raises(CaffepyError, match="cannot be written"):
        net.save(str(tmp_path / "no" / "folder.caffemodel"))
    with pytest.raises(WeightsError, match="there is no such file"):
        net.copy_from(str(tmp_path / "none.caffemodel"))


def test_shared_parameters_are_one_memory(tmp_path: Path) -> None:
    net, other = (open_text(tmp_path, TRAIN_NET, caffe.TRAIN) for _ in range(2))
    other.forward()
    other.share_with(net)
    net.params["ip"][0].data[...] = 0
    assert not other.params["ip"][0].data.any()
    other.forward()
    np.testing.assert_array_equal(other.blobs["ip_blob"].data, np.full((5, 13), -3))


def test_nets_of_other_shapes_do_not_share(tmp_path: Path) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    other = open_text(tmp_path, TRAIN_NET.replace("13", "12"), caffe.TRAIN)
    with pytest.raises(NetError, match="cannot share its parameters"):
        other.share_with(net)


# ---- random numbers


def test_a_seed_repeats_the_nets_that_follow(tmp_path: Path) -> None:
    def two() -> list[np.ndarray]:
        nets = [open_text(tmp_path, TRAIN_NET, caffe.TRAIN) for _ in range(2)]
        return [net.params["conv"][0].data.copy() for net in nets]

    caffe.set_random_seed(4)
    first, second = two()
    assert (first != second).any()
    caffe.set_random_seed(4)
    np.testing.assert_array_equal(two(), [first, second])
    caffe.set_random_seed(5)
    assert (two()[0] != first).any()


def test_nets_without_a_seed_differ(tmp_path: Path) -> None:
    first, second = (open_text(tmp_path, TRAIN_NET, caffe.TRAIN) for _ in range(2))
    assert (first.params["conv"][0].data != second.params["conv"][0].data).any()


# ---- the end of a net


def test_a_net_that_nobody_holds_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    closed: list[str] = []
    monkeypatch.setattr(net._net.layers[0], "close", lambda: closed.append("data"))
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
    assert closed == ["data"]


def test_a_net_closes_at_the_end_of_a_block(tmp_path: Path) -> None:
    with open_text(tmp_path, TRAIN_NET, caffe.TRAIN) as net:
        assert net.forward()["loss"] > 0
    net.close()


# ---- copies


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_stands_for_a_net_is_not_copied_but_its_arrays_are(
    copied: Callable[[object], object], tmp_path: Path
) -> None:
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN)
    for shown in (net, net.blobs["conv"], net.params["conv"]):
        with pytest.raises(TypeError, match="expected an object that can be copied or pickled"):
            copied(shown)
    assert copied(net.blobs["conv"].data) is not None
    assert net.forward()["loss"] > 0
