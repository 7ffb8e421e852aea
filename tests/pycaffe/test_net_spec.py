"""caffe.net_spec: nets written in Python, against what pycaffe made of the same code."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2
from caffepy.engine.known_types import _BVLC
from caffepy.proto.errors import PrototxtError
from caffepy.proto.fields import PRIVATE_NUMBERS

CASES = ["anonymous", "include_phase", "lenet"]


def data() -> Any:
    return L.DummyData(shape={"dim": [1, 3, 8, 8]})


@pytest.mark.parametrize("case", CASES)
def test_code_gives_pycaffes_text(golden: Path, case: str) -> None:
    names: dict[str, Any] = {"caffe": caffe, "L": L, "P": P}
    folder = golden / "pyapi" / "netspec"
    exec((folder / f"{case}.py.txt").read_text(), names)
    assert str(names["proto"]) == (folder / f"{case}.prototxt").read_text()


def test_every_recorded_case_is_run(golden: Path) -> None:
    found = sorted(path.name for path in (golden / "pyapi" / "netspec").glob("*.prototxt"))
    assert found == [f"{case}.prototxt" for case in CASES]


def test_a_net_of_the_spec_runs(tmp_path: Path) -> None:
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [2, 3]})
    n.score = L.InnerProduct(n.data, num_output=4, weight_filler={"type": "xavier"})
    n.loss = L.Softmax(n.score)
    path = tmp_path / "net.prototxt"
    path.write_text(f'name: "spec"\n{n.to_proto()}')
    net = caffe.Net(str(path), caffe.TEST)
    assert net.forward(data=np.ones((2, 3)))["loss"].shape == (2, 4)


def lenet(n: Any) -> Any:
    """What most nets in Python are: a chain of layers, one in place, a loss."""
    n.data, n.label = L.DummyData(shape=[{"dim": [5, 1, 28, 28]}, {"dim": 5}], ntop=2)
    xavier = {"type": "xavier"}
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=xavier)
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool1, num_output=50, weight_filler=xavier)
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.relu1, num_output=10, weight_filler=xavier)
    n.loss = L.SoftmaxWithLoss(n.ip2, n.label)
    return n.loss


@pytest.mark.parametrize("named", [True, False])
def test_lenet_is_built_with_and_without_names(tmp_path: Path, named: bool) -> None:
    n = caffe.NetSpec()
    loss = lenet(n)
    proto = n.to_proto() if named else loss.to_proto()
    assert proto.layer[4].bottom == proto.layer[4].top
    (tmp_path / "net.prototxt").write_text(str(proto))
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    assert len(net.layers) == 7
    assert list(net.forward()) == [loss.fn.type_name + "1" if not named else "loss"]


def test_layers_without_tops_give_no_outputs(tmp_path: Path) -> None:
    n = caffe.NetSpec()
    n.data, n.data2 = L.DummyData(shape={"dim": 3}, ntop=2)
    n.silence_data = L.Silence(n.data, ntop=0)
    n.silence_data2 = L.Silence(n.data2, ntop=0)
    (tmp_path / "net.prototxt").write_text(str(n.to_proto()))
    assert not caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).forward()


def test_layers_without_a_name_are_counted_by_type() -> None:
    first = L.ReLU(data())
    net = caffe.to_proto(L.Eltwise(first, L.ReLU(first)), L.Silence(first, ntop=0).inputs[0])
    assert [layer.name for layer in net.layer] == ["DummyData1", "ReLU1", "ReLU2", "Eltwise1"]


def test_a_top_alone_gives_what_it_needs() -> None:
    top = L.ReLU(data(), in_place=True)
    assert top.to_proto() == caffe.to_proto(top)
    assert list(top.to_proto().layer[1].top) == ["DummyData1"]


def test_a_chain_of_ten_thousand_layers_is_no_deeper_than_the_stack() -> None:
    top = data()
    for _ in range(10_000):
        top = L.ReLU(top)
    assert len(top.to_proto().layer) == 10_001


def test_names_are_attributes_and_items() -> None:
    n = caffe.NetSpec()
    n.data = data()
    n["a/b"] = L.ReLU(n.data)
    assert n.keys() == ["data", "a/b"]
    assert n.vals() == [n.data, n["a/b"]]
    del n["a/b"]
    assert n.keys() == ["data"]
    with pytest.raises(KeyError):
        n.missing  # noqa: B018
    assert copy.copy(n).keys() == ["data"]


def test_fields_of_a_layer_can_be_changed_afterwards() -> None:
    n = caffe.NetSpec()
    n.data = data()
    n.fc = L.InnerProduct(n.data, num_output=4)
    n.update("fc", {"num_output": 5, "bias_term": False})
    param = n.to_proto().layer[1].inner_product_param
    assert (param.num_output, param.bias_term) == (5, False)


@pytest.mark.parametrize("value", [3, [3], (3,), np.int64(3), np.array([3])])
def test_one_value_is_enough_for_a_repeated_field(value: Any) -> None:
    layer = L.Convolution(data(), kernel_size=value).to_proto().layer[1]
    assert list(layer.convolution_param.kernel_size) == [3]


def test_enums_are_numbers_or_words() -> None:
    assert P.Pooling.AVE == caffe_pb2.PoolingParameter.AVE
    for value in (P.Pooling.AVE, "AVE"):
        layer = L.Pooling(data(), pool=value).to_proto().layer[1]
        assert layer.pooling_param.pool == caffe_pb2.PoolingParameter.AVE


def test_whole_blocks_and_messages_are_taken() -> None:
    filler = caffe_pb2.FillerParameter(type="xavier")
    layer = L.Deconvolution(
        data(), convolution_param={"num_output": 2, "weight_filler": filler}, param=[{}, {}]
    )
    message = layer.to_proto().layer[1]
    assert message.convolution_param.weight_filler == filler
    assert len(message.param) == 2


# ---- the fields of forks


def test_each_type_of_caffes_has_caffes_own_block() -> None:
    names = caffe.net_spec.param_name_dict()
    fields = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
    own = {name: names[name] for name in _BVLC.split() if name in names}
    assert not {"LSTM", "RNN", "Split", "Deconvolution"} & set(own)
    assert own["ReLU"] == "relu"
    assert own["HDF5Data"] == "hdf5_data"
    for block in own.values():
        assert fields[f"{block}_param"].number not in PRIVATE_NUMBERS


def test_a_forks_field_does_not_take_the_place_of_a_layers() -> None:
    # a fork has CenterLossParameter.loss_weight besides
    layer = L.CenterLoss(data(), data(), num_output=2, loss_weight=0.5).to_proto().layer[-1]
    assert list(layer.loss_weight) == [0.5]


def test_a_forks_block_is_found_by_its_type() -> None:
    layer = L.Permute(data(), order=[0, 2, 3, 1]).to_proto().layer[1]
    assert list(layer.permute_param.order) == [0, 2, 3, 1]


# ---- refusals


def test_an_input_that_is_no_top_is_refused_in_pycaffes_words() -> None:
    pair = L.DummyData(ntop=2)
    with pytest.raises(
        TypeError, match=r"^Silence input 0 is not a Top \(type is <class 'tuple'>\)$"
    ):
        L.Silence(pair, ntop=0)


def test_a_tuple_of_tops_under_one_name_is_refused() -> None:
    n = caffe.NetSpec()
    n.data = L.DummyData(ntop=2)
    with pytest.raises(TypeError, match="'data': expected a top of a layer, got tuple"):
        n.to_proto()


@pytest.mark.parametrize(
    ("layer_type", "fields", "told"),
    [
        (
            "Convolution",
            {"kernel_siz": 3},
            "layer 'Convolution1' (Convolution): expected a field of ConvolutionParameter or of "
            "LayerParameter, got 'kernel_siz'. Did you mean 'kernel_size'?",
        ),
        ("Convolution", {"weight_filler": {"typ": "x"}}, "weight_filler: expected a field of "),
        ("Convolution", {"weight_filler": "xavier"}, "expected a dict of fields of FillerParam"),
        ("Convolution", {"kernel_size": "3"}, "expected a whole number, or a list of them, got "),
        ("Convolution", {"bias_term": "no"}, "expected True or False, got 'no'"),
        ("Dropout", {"dropout_ratio": None}, "dropout_ratio: expected a number, got None"),
        ("Pooling", {"pool": "MEAN"}, "pool: expected one of MAX, AVE, STOCHASTIC"),
        ("Data", {"source": 3}, "source: expected a string, got 3"),
        ("Convolution", {"param": [{"lr_mult": 1}, 0]}, "param: expected a dict of fields of Par"),
        ("LSTM", {"num_output": 3}, "recurrent_param"),
        ("Deconvolution", {"num_output": 3}, "Give it in the block that the layer reads: convol"),
        ("AbsVal", {"nonsense": 3}, "expected a field of LayerParameter, got 'nonsense'. Correct"),
        ("InnerProdct", {"num_output": 3}, "there is no such type. Did you mean 'InnerProduct'?"),
        ("Sin", {"sin_param": {}}, "expected a field of LayerParameter, got 'sin_param'"),
    ],
)
def test_a_field_that_cannot_be_is_refused(
    layer_type: str, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(PrototxtError) as refusal:
        getattr(L, layer_type)(**fields).to_proto()
    assert told in str(refusal.value)


def test_blocks_in_the_block_of_a_type_need_not_name_it() -> None:
    top = L.DetectionOutput(num_classes=3, nms_param={"top_k": 4}, loss_param={"normalize": True})
    (layer,) = top.to_proto().layer
    assert layer.detection_output_param.nms_param.top_k == 4
    assert layer.loss_param.normalize


def test_an_enum_of_no_message_is_refused() -> None:
    with pytest.raises(AttributeError, match="got 'Poling'"):
        P.Poling.MAX  # noqa: B018
