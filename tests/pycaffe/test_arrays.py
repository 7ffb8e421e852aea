"""Arrays of a net are its memory on every backend: what is written into them counts, what passes
write shows in them."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

import caffepy.pycaffe as caffe
from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import ATOL, RTOL
from tests.pycaffe.nets import TRAIN_NET, open_text, weights_of

# Convolution and pooling, which backends keep blocked, and what follows in place.
BLOCKED = """
name: "blocked" force_backward: true
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 10 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
"""


@pytest.fixture
def net(ops: Ops, tmp_path: Path) -> caffe.Net:
    """BLOCKED after a pass over random numbers, whose second run replays what the first did."""
    caffe.set_random_seed(1)
    net = open_text(tmp_path, BLOCKED, ops=ops)
    net.blobs["x"].data[...] = np.random.default_rng(0).standard_normal((2, 3, 8, 8))
    for _ in range(2):
        net.forward()
    return net


def test_what_is_written_into_an_input_counts(net: caffe.Net) -> None:
    before = net.blobs["fc"].data.copy()
    net.blobs["x"].data[...] *= 2
    np.testing.assert_allclose(net.forward()["fc"], 2 * before, rtol=RTOL, atol=ATOL)
    net.blobs["x"].data[0] = 0
    fc = net.forward()["fc"]
    assert not fc[0].any()
    np.testing.assert_allclose(fc[1], 2 * before[1], rtol=RTOL, atol=ATOL)


def test_in_place_arithmetic_on_a_blob_counts(net: caffe.Net) -> None:
    data = net.blobs["x"].data
    before = net.blobs["fc"].data.copy()
    data += data
    np.testing.assert_allclose(net.forward()["fc"], 2 * before, rtol=RTOL, atol=ATOL)
    net.blobs["x"].data[:, 0] -= 1  # through a view of a view
    assert (net.forward()["fc"] != 2 * before).any()


def test_views_show_later_passes(net: caffe.Net) -> None:
    views = {name: blob.data for name, blob in net.blobs.items()}
    part = net.blobs["conv"].data[1, 2:4]
    before = {name: view.copy() for name, view in views.items()}
    net.blobs["x"].data[...] *= 3
    for _ in range(2):
        net.forward()
    for name, view in views.items():
        np.testing.assert_allclose(view, 3 * before[name], rtol=RTOL, atol=10 * ATOL, err_msg=name)
        assert np.shares_memory(view, net.blobs[name].data)
    np.testing.assert_array_equal(part, views["conv"][1, 2:4])


def test_a_blob_in_the_middle_may_be_changed_between_partial_passes(net: caffe.Net) -> None:
    net.forward(end="conv")
    net.blobs["conv"].data[...] = -1
    net.blobs["conv"].data[0] = 2
    net.forward(start="relu")
    assert (net.blobs["pool"].data[0] == 2).all()
    assert not net.blobs["pool"].data[1].any()
    expected = 2 * net.params["fc"][0].data.sum(1)
    np.testing.assert_allclose(net.blobs["fc"].data[0], expected, rtol=RTOL, atol=ATOL)


def test_parameters_are_edited_in_place(net: caffe.Net) -> None:
    weights, bias = (blob.data for blob in net.params["conv"])
    weights[...] = 0
    weights[4, 1, 1, 1] = 1
    bias[...] = 0.5
    conv = net.forward(["conv"])["conv"]
    x = net.blobs["x"].data
    np.testing.assert_allclose(conv[:, 4], np.maximum(x[:, 1, 1:7, 1:7] + 0.5, 0), rtol=RTOL)
    assert (conv[:, [0, 9]] == 0.5).all()


def test_edited_parameters_are_what_is_saved(net: caffe.Net, tmp_path: Path, ops: Ops) -> None:
    net.params["conv"][0].data[2] = 7
    net.save(str(tmp_path / "edited.caffemodel"))
    other = open_text(tmp_path, BLOCKED, ops=ops)
    other.copy_from(str(tmp_path / "edited.caffemodel"))
    assert (other.params["conv"][0].data[2] == 7).all()
    for name, arrays in weights_of(net).items():
        np.testing.assert_array_equal(other.params[name][0].data, arrays[0])


def test_parameters_are_transplanted_into_another_shape(
    net: caffe.Net, tmp_path: Path, ops: Ops
) -> None:
    """As in the published net surgery: an inner product cast into a convolution."""
    convolutional = BLOCKED.replace("InnerProduct", "Convolution").replace(
        "inner_product_param { num_output: 4", "convolution_param { num_output: 4 kernel_size: 3"
    )
    other = open_text(tmp_path, convolutional, ops=ops)
    for name in net.params:
        for source, target in zip(net.params[name], other.params[name], strict=True):
            target.data.flat = source.data.flat
    other.blobs["x"].reshape(2, 3, 10, 12)
    other.blobs["x"].data[...] = 0
    other.blobs["x"].data[:, :, :8, :8] = net.blobs["x"].data
    fc = other.forward()["fc"]
    assert fc.shape == (2, 4, 2, 3)
    np.testing.assert_allclose(fc[:, :, 0, 0], net.forward()["fc"], rtol=RTOL, atol=ATOL)


def test_diffs_are_written_and_read(net: caffe.Net) -> None:
    net.blobs["fc"].diff[...] = 1
    held = net.blobs["x"].diff
    net.backward()
    once = held.copy()
    assert once.any()
    net.blobs["fc"].diff[...] = -1
    net.backward()
    np.testing.assert_allclose(held, -once, rtol=RTOL, atol=ATOL)


def test_what_is_held_outlives_the_net(net: caffe.Net) -> None:
    blobs = [*net.blobs.values(), *(blob for blobs in net.params.values() for blob in blobs)]
    array = net.params["fc"][0].data
    before = array.copy()
    del net
    gc.collect()
    assert np.isfinite(sum(blob.data.sum() + blob.diff.sum() for blob in blobs))
    array += 1
    np.testing.assert_array_equal(array, before + 1)


def test_an_array_held_while_an_input_grows_keeps_its_memory(net: caffe.Net) -> None:
    held = net.blobs["x"].data
    before = held.copy()
    net.blobs["x"].reshape(5, 3, 8, 8)
    net.forward()
    np.testing.assert_array_equal(held, before)
    assert net.blobs["x"].data.shape == (5, 3, 8, 8)


def test_a_blob_that_is_no_input_takes_its_own_shape_again(net: caffe.Net) -> None:
    before = net.forward()["fc"].copy()
    for name in ("conv", "pool", "fc"):
        net.blobs[name].reshape(1, 2)
        np.testing.assert_allclose(net.forward()["fc"], before, rtol=RTOL, atol=ATOL)
        net.blobs[name].reshape(7, 20, 9, 9)
        net.reshape()
        assert net.blobs[name].shape == net.forward([name])[name].shape
        assert len(net.blobs[name].data) == 2
    net.backward()


def test_a_parameter_of_another_shape_is_saved_but_does_not_run(
    net: caffe.Net, tmp_path: Path
) -> None:
    weights = net.params["conv"][0]
    before = net.forward()["fc"].copy()
    weights.reshape(10, 27)
    with pytest.raises(ShapeError, match=r"learnable blob 0: expected shape \(10, 3, 3, 3\).*27"):
        net.forward()
    net.save(str(tmp_path / "flat.caffemodel"))
    weights.reshape(10, 3, 3, 3)
    np.testing.assert_allclose(net.forward()["fc"], before, rtol=RTOL, atol=ATOL)


def test_dummy_data_that_is_constant_may_be_replaced(tmp_path: Path, ops: Ops) -> None:
    """As pycaffe's own tests give labels."""
    net = open_text(tmp_path, TRAIN_NET, caffe.TRAIN, ops)
    net.blobs["label"].data[...] = [3, 1, 4, 1, 5]
    for _ in range(3):
        net.forward()
        np.testing.assert_array_equal(net.blobs["label"].data, [3, 1, 4, 1, 5])
