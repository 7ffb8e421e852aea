"""Weights in and out: binary and HDF5, old shapes, sharing, errors."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.errors import CaffepyError, SnapshotError, WeightsError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.weights import load_weights, load_weights_list
from caffepy.engine.weights_file import save_weights
from caffepy.proto import weights
from caffepy.proto.caffe_pb2 import TEST
from tests.engine.weight_cases import INPUT, MODELS, PLAIN, SHARED, ip, parameters
from tests.nets import make_net

# ---- files of Caffe


@pytest.mark.parametrize(
    ("net", "file"),
    [
        ("net.prototxt", "net.caffemodel"),
        ("net.prototxt", "net.caffemodel.h5"),
        ("v1.prototxt", "v1.caffemodel"),
        ("v1.prototxt", "v1_upgraded.caffemodel"),
    ],
)
def test_weights_of_caffe_are_loaded_and_give_its_outputs(net: str, file: str, ops: Ops) -> None:
    with np.load(MODELS / net.replace(".prototxt", "_expected.npz")) as recorded:
        expected = dict(recorded)
    model = make_net(MODELS / net, ops, phase=TEST)
    load_weights(model, MODELS / file)
    prefix = "loaded" if "v1" in net else "param"
    for (layer, index), array in parameters(model).items():
        np.testing.assert_array_equal(array, expected[f"{prefix}_{layer}_{index}"])
    model.blobs["data"].data.write()[...] = expected["in"]
    model.forward()
    for name, blob in model.blobs.items():
        if f"blob_{name}" in expected:
            np.testing.assert_allclose(
                blob.data.read(), expected[f"blob_{name}"], rtol=1e-4, atol=1e-5, err_msg=name
            )


# ---- our own files


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize("net", [PLAIN, SHARED, INPUT + ip("block/one") + ip("block", "x")])
def test_what_is_saved_is_what_is_loaded(net: str, hdf5: bool, tmp_path: Path, ops: Ops) -> None:
    saved, loaded = make_net(net, ops), make_net(net, ops)
    for one in saved.parameters.learnable:
        one.blob.data.modify()[...] += 1
    digest = save_weights(saved, tmp_path / "w", hdf5=hdf5)
    assert digest == hashlib.sha256((tmp_path / "w").read_bytes()).hexdigest()
    load_weights(loaded, tmp_path / "w")
    expected = parameters(saved)
    for key, array in parameters(loaded).items():
        np.testing.assert_array_equal(array, expected[key])
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


@pytest.mark.parametrize("hdf5", [False, True])
def test_gradients_are_saved_and_loaded_where_asked_for(hdf5: bool, tmp_path: Path) -> None:
    net = make_net(PLAIN)
    for one in net.parameters.learnable:
        one.blob.diff.write()[...] = 7
    save_weights(net, tmp_path / "w", hdf5=hdf5, diffs=True)
    if hdf5:
        assert np.all(h5py.File(tmp_path / "w")["diff/b/0"][()] == 7)
    else:
        layers = weights.read(tmp_path / "w")
        assert all(np.all(blob.diff == 7) for layer in layers for blob in layer.blobs)


def test_a_shared_parameter_stands_once_in_hdf5_and_twice_in_a_binary_file(tmp_path: Path) -> None:
    net = make_net(SHARED)
    save_weights(net, tmp_path / "w.h5", hdf5=True)
    save_weights(net, tmp_path / "w")
    with h5py.File(tmp_path / "w.h5") as file:
        assert sorted(file["data/a"]) == ["0", "1"]
        assert sorted(file["data/b"]) == ["1"]
    blobs = [layer.blobs for layer in weights.read(tmp_path / "w") if layer.blobs]
    np.testing.assert_array_equal(blobs[0][0].data, blobs[1][0].data)


def test_weights_of_a_double_net_fit_a_float_net(tmp_path: Path) -> None:
    double, single = make_net(PLAIN, NumpyOps(np.float64)), make_net(PLAIN)
    save_weights(double, tmp_path / "w")
    load_weights(single, tmp_path / "w")
    expected = parameters(double)
    for key, array in parameters(single).items():
        np.testing.assert_allclose(array, expected[key], rtol=1e-6)


def test_layers_that_the_net_does_not_have_are_ignored_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_weights(make_net(PLAIN), tmp_path / "w")
    caplog.set_level("INFO", "caffepy")
    net = make_net(INPUT + ip("a"))
    load_weights(net, tmp_path / "w")
    assert "Ignoring source layer b" in caplog.messages


def test_a_list_of_files_is_loaded_one_after_the_other(tmp_path: Path) -> None:
    first, second = make_net(INPUT + ip("a")), make_net(INPUT + ip("b", outputs=3))
    save_weights(first, tmp_path / "first")
    save_weights(second, tmp_path / "second")
    net = make_net(PLAIN)
    load_weights_list(net, f"{tmp_path / 'first'}, {tmp_path / 'second'},")
    found = parameters(net)
    np.testing.assert_array_equal(found["a", 0], parameters(first)["a", 0])
    np.testing.assert_array_equal(found["b", 0], parameters(second)["b", 0])


# ---- errors


@pytest.mark.parametrize("hdf5", [False, True])
@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (
            INPUT + ip("a") + ip("b", "a", outputs=5),
            r"w: layer 'b', blob 0: expected shape \(3, 4\), .*got \(5, 4\)\. Rename the layer",
        ),
        (
            INPUT + ip("a") + ip("b", "a", outputs=3).replace("num_o", "bias_term: false num_o"),
            r"w: layer 'b': expected 2 blob\(s\), as the net has, got 1\. Rename",
        ),
        (
            INPUT.replace('"in"', '"input"') + ip("c"),
            r"w: expected layers of net 'plain', got no layer whose name is in it \('input', 'c'\)",
        ),
        (
            INPUT + ip("c"),
            r"w: expected weights of net 'plain', got those of other layers \('c'\): what has the",
        ),
    ],
)
def test_weights_that_do_not_fit_leave_the_net_as_it_was(
    saved: str, message: str, hdf5: bool, tmp_path: Path
) -> None:
    save_weights(make_net(saved), tmp_path / "w", hdf5=hdf5)
    net = make_net(PLAIN)
    before = parameters(net)
    if hdf5:
        message = message.replace("'input', 'c'", "'c', 'input'")
    with pytest.raises(WeightsError, match=message):
        load_weights(net, tmp_path / "w")
    for key, array in parameters(net).items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "got an empty file"),
        (b"\x89HDF\r\n\x1a\n" + b"x" * 50, "cannot be read as HDF5"),
        (b'name: "net" layer { }', "a text file: give the binary file"),
    ],
)
def test_a_file_that_is_no_caffemodel_is_refused(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "w"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CaffepyError, match=message):
        load_weights(make_net(PLAIN), path)


def test_an_hdf5_file_without_weights_says_what_it_has(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w", "w") as file:
        file["label"] = np.zeros(3)
    with pytest.raises(WeightsError, match=r"expected a group 'data' .*got label"):
        load_weights(make_net(PLAIN), tmp_path / "w")


def test_two_layers_of_one_name_have_no_place_in_hdf5(tmp_path: Path) -> None:
    net = make_net(INPUT + ip("a") + ip("a", "a").replace('top: "a"', 'top: "b"'))
    with pytest.raises(SnapshotError, match="layer 'a' has no place of its own"):
        save_weights(net, tmp_path / "w", hdf5=True)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"gone/w: cannot be written: No such file"):
        save_weights(make_net(PLAIN), tmp_path / "gone" / "w")
