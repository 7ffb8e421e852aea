"""Weights that others trained and published: they load and give what another engine gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.copied import COPIED
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.weights import load_weights
from caffepy.proto.caffe_pb2 import TEST
from tests.conftest import onednn_ops
from tests.nets import make_net

RECORDED = {
    "caffe_onnx_test/test": "test",
    "cifar10_full_v1_legacy/cifar10_full": "cifar10_full_iter_60000",  # a V1 binary
    "mtcnn_v1/det1": "det1",
    "mtcnn_v1/det2": "det2",
    "mtcnn_v1/det3": "det3",
    "ultraface_rfb320/RFB-320": "RFB-320",
}
TOLERANCE = 1e-4  # between independent engines in float32
WAIFU2X = "waifu2x_upresnet10/scale2.0x_model"


@pytest.fixture(params=["numpy", "onednn"])
def engine(request: pytest.FixtureRequest) -> Ops:
    """The engines on the CPU."""
    return NumpyOps(np.float32) if request.param == "numpy" else onednn_ops()


def loaded(folder: Path, name: str, weights: str, ops: Ops) -> Net:
    net = make_net(folder / f"{name}.prototxt", ops, phase=TEST)
    table = load_weights(net, (folder / name).with_name(f"{weights}.caffemodel"))
    assert all(row.outcome == COPIED for row in table if row.in_net is not None)
    return net


@pytest.mark.parametrize("name", RECORDED)
def test_outputs_are_those_that_were_recorded(name: str, engine: Ops, shared: Path) -> None:
    folder = shared / "realmodels"
    net = loaded(folder, name, RECORDED[name], engine)
    case = folder / name
    with np.load(case.with_name(f"opencv4_{case.name}.npz")) as arrays:
        recorded = dict(arrays)
    shape = tuple(recorded["input_shape"])
    values = np.random.RandomState(0).uniform(-1, 1, shape).astype(np.float32)
    data = net.blobs[str(recorded["input_name"])]
    data.reshape(shape)
    data.data.write()[...] = values
    net.forward()
    outputs = [key for key in recorded if key.startswith("out_")]
    assert outputs
    for key in outputs:
        found = net.blobs[key.removeprefix("out_").replace("|", "/")].data.read()
        np.testing.assert_allclose(found, recorded[key], rtol=0, atol=TOLERANCE, err_msg=key)


def test_waifu2x_enlarges_a_smooth_image_and_changes_little_of_it(
    engine: Ops, shared: Path
) -> None:
    net = loaded(shared / "realmodels", WAIFU2X, "scale2.0x_model.json", engine)
    (given,), (output,) = net.inputs, net.outputs
    size = net.blobs[given].shape[2]
    rows, columns = np.mgrid[:size, :size] / size
    net.blobs[given].data.write()[...] = 0.5 + rows * columns / 2
    net.forward()
    found = net.blobs[output].data.read()
    assert found.shape == (1, 3, 128, 128)
    enlarged = net.blobs[given].data.read().repeat(2, axis=2).repeat(2, axis=3)
    edge = (2 * size - 128) // 2  # what the convolutions take off
    middle = enlarged[:, :, edge:-edge, edge:-edge]
    np.testing.assert_allclose(found, middle, rtol=0, atol=0.005)
