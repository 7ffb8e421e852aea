"""What published notebooks and scripts do with nets: dreaming, style, segmentation, detection,
captions, colours, and training by hand."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import caffepy.pycaffe as caffe
from caffepy.engine.ops.base import Ops
from tests.harness import ATOL, RTOL
from tests.pycaffe.nets import SOLVER, open_text
from tests.python_layers import python_layer

RANDOM = np.random.default_rng(0)
CONV = """
layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}" convolution_param {{
  num_output: {2} kernel_size: 3 pad: 1 stride: {3} weight_filler {{ type: "msra" }} }} }}
layer {{ name: "{0}_relu" type: "ReLU" bottom: "{0}" top: "{0}" }}
"""
PLANES = (
    'name: "planes" force_backward: true\n'
    'layer { name: "in" type: "Input" top: "data" '
    "input_param { shape { dim: 1 dim: 3 dim: 12 dim: 10 } } }"
    + CONV.format("conv1", "data", 9, 1)
    + 'layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" '
    "pooling_param { kernel_size: 2 stride: 2 } }"
    + CONV.format("conv2", "pool1", 5, 1)
    + 'layer { name: "top" type: "Convolution" bottom: "conv2" top: "top" '
    'convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "msra" } } }'
)


def solver_of(folder: Path, net: str, ops: Ops | None = None, **fields: object) -> caffe.SGDSolver:
    """A solver without tests, at a fixed rate of 0.01, in the folder."""
    (folder / "net.prototxt").write_text(net)
    given = {**SOLVER, "net": str(folder / "net.prototxt"), "lr_policy": "fixed", **fields}
    lines = [f"{name}: {json.dumps(value)}" for name, value in given.items() if "test" not in name]
    (folder / "solver.prototxt").write_text("\n".join(lines))
    return caffe.SGDSolver(folder / "solver.prototxt", ops=ops)


# ---- gradients of images


def test_an_image_climbs_the_gradient_of_a_blob_in_the_middle(ops: Ops, tmp_path: Path) -> None:
    """As nets dream: octaves of growing size, the diff of a blob its data, steps in place."""
    net = open_text(tmp_path, PLANES, ops=ops)
    source, target = net.blobs["data"], net.blobs["conv2"]
    energies = []
    for height, width in ((12, 10), (17, 14)):
        source.reshape(1, 3, height, width)
        source.data[0] = RANDOM.standard_normal((3, height, width))
        for _ in range(4):
            source.data[0] = np.roll(source.data[0], 1, -1)
            net.forward(end="conv2_relu")
            energies.append(float((target.data**2).sum()))
            target.diff[:] = target.data
            net.backward(start="conv2_relu")
            gradient = source.diff[0]
            source.data[:] += 0.05 / np.abs(gradient).mean() * gradient
            source.data[0] = np.roll(source.data[0], -1, -1)
            source.data[:] = np.clip(source.data, -4, 4)
    assert energies[0] < energies[3]
    assert energies[4] < energies[7]
    assert target.data.shape == (1, 5, 9, 7)  # of 17 x 14, halved upwards


def test_gradients_of_several_blobs_are_added_segment_by_segment(ops: Ops, tmp_path: Path) -> None:
    """As for style: backward runs from one blob to the next, where more is added to the diff."""
    net = open_text(tmp_path, PLANES, ops=ops)
    names = ["conv2", "conv1"]  # from the top

    def loss_and_gradient(image: np.ndarray) -> tuple[float, np.ndarray]:
        net.blobs["data"].data[...] = image
        net.forward(end="conv2_relu")
        loss = sum(float((net.blobs[name].data.astype(float) ** 2).sum()) / 2 for name in names)
        net.blobs["conv2"].diff[...] = net.blobs["conv2"].data
        net.backward(start="conv2_relu", end="pool1")
        net.blobs["conv1"].diff[0] += net.blobs["conv1"].data[0]
        return loss, net.backward(start="conv1_relu")["data"].astype(float)

    image = RANDOM.standard_normal((1, 3, 12, 10))
    _, gradient = loss_and_gradient(image)
    direction = gradient / np.linalg.norm(gradient)
    step = 1e-3  # small beside the distance to kinks, large beside float32's rounding
    after, before = (loss_and_gradient(image + sign * step * direction)[0] for sign in (1, -1))
    numeric = (after - before) / (2 * step)
    np.testing.assert_allclose(numeric, np.linalg.norm(gradient), rtol=0.02)


def test_weights_are_set_through_a_transposed_slice(ops: Ops, tmp_path: Path) -> None:
    """As colours are put into the last layer of a net that paints."""
    net = open_text(tmp_path, PLANES, ops=ops)
    points = RANDOM.standard_normal((5, 2)).astype(np.float32)
    net.params["top"][0].data[:, :, 0, 0] = points.transpose((1, 0))
    net.forward(data=RANDOM.standard_normal((1, 3, 12, 10)))
    expected = np.einsum("chw,ck->khw", net.blobs["conv2"].data[0], points)
    np.testing.assert_allclose(net.blobs["top"].data[0], expected, rtol=RTOL, atol=10 * ATOL)


# ---- training from the user's own data layers

ROIS = """
import caffe
import numpy as np


class Images(caffe.Layer):
    def setup(self, bottom, top):
        self.names = {"data": 0, "labels": 1}
        top[0].reshape(1, 3, 8, 8)
        top[1].reshape(1, 1, 8, 8)

    def set_samples(self, samples):
        self.samples, self.current = samples, 0

    def reshape(self, bottom, top): pass

    def forward(self, bottom, top):
        blobs = self.samples[self.current % len(self.samples)]
        self.current += 1
        for name, blob in blobs.items():
            index = self.names[name]
            top[index].reshape(*blob.shape)
            top[index].data[...] = blob.astype(np.float32, copy=False)

    def backward(self, top, propagate_down, bottom): pass
"""
SEGMENTING = (
    'name: "segmenting"\n'
    + python_layer("Images", 'top: "data" top: "labels"', module="rois")
    + CONV.format("conv", "data", 6, 2)
    + """
layer { name: "score" type: "Convolution" bottom: "conv" top: "score"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "upscore" type: "Deconvolution" bottom: "score" top: "upscore" param { lr_mult: 0 }
  convolution_param { num_output: 4 kernel_size: 4 stride: 2 bias_term: false } }
layer { name: "crop" type: "Crop" bottom: "upscore" bottom: "data" top: "crop"
  crop_param { axis: 2 offset: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "crop" bottom: "labels" top: "loss"
  loss_param { ignore_label: 255 normalize: false } }
"""
)


def samples(*heights: int) -> list[dict[str, np.ndarray]]:
    """Images of 8 pixels' width, with labels of which the first row is to be ignored."""
    made: list[dict[str, np.ndarray]] = []
    for height in heights:
        labels = RANDOM.integers(0, 4, (1, 1, height, 8)).astype(np.uint8)
        labels[0, 0, 0] = 255
        made.append({"data": RANDOM.standard_normal((1, 3, height, 8)), "labels": labels})
    return made


def test_a_solver_trains_on_images_of_changing_sizes(
    ops: Ops, tmp_path: Path, modules_as_before: None
) -> None:
    """As in segmentation and detection: the data layer gets its images after set-up, shapes its
    tops in forward; upsampling is set to a bilinear filter and stays it."""
    (tmp_path / "rois.py").write_text(ROIS)
    solver = solver_of(tmp_path, SEGMENTING, ops, base_lr=1e-3)
    solver.net.layers[0].set_samples(samples(8, 11))  # type: ignore[attr-defined]
    taps = np.array([0.25, 0.75, 0.75, 0.25])
    solver.net.params["upscore"][0].data[range(4), 0, :, :] = np.outer(taps, taps)
    upscore = solver.net.params["upscore"][0].data.copy()
    shapes, losses = [], []
    for _ in range(12):
        solver.step(1)
        shapes.append(solver.net.blobs["crop"].data.shape)
        losses.append(float(solver.net.blobs["loss"].data.flat[0]))
    assert shapes[:3] == [(1, 4, height, 8) for height in (8, 11, 8)]
    assert sum(losses[-2:]) < sum(losses[:2])
    np.testing.assert_array_equal(solver.net.params["upscore"][0].data, upscore)


def test_weights_are_scaled_for_a_snapshot_and_put_back(ops: Ops, tmp_path: Path) -> None:
    """As a detector's box targets are: what is saved is scaled, what is trained is not."""
    net = PLANES + 'layer { name: "loss" type: "Reduction" bottom: "top" top: "loss" loss_weight: 1'
    net += " reduction_param { operation: SUMSQ } }"
    plain, scaled = (solver_of(tmp_path, net, ops, base_lr=1e-6) for _ in range(2))
    for solver in (plain, scaled):
        solver.net.blobs["data"].data[...] = 1
        solver.step(2)
    weights, bias = (blob.data for blob in scaled.net.params["top"])
    before = weights.copy(), bias.copy()
    weights[...] = weights * np.array([2, 4])[:, None, None, None]
    bias[...] = bias * 2 + 1
    scaled.net.save(str(tmp_path / "scaled.caffemodel"))
    weights[...], bias[...] = before
    for solver in (plain, scaled):
        solver.step(2)
    for name, blobs in plain.net.params.items():
        for index, blob in enumerate(blobs):
            np.testing.assert_array_equal(scaled.net.params[name][index].data, blob.data)
    saved = open_text(tmp_path, PLANES, ops=ops)
    saved.copy_from(str(tmp_path / "scaled.caffemodel"))
    np.testing.assert_array_equal(saved.params["top"][0].data[1], 4 * before[0][1])


LINEAR = """
layer { name: "in" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 }
  data_filler { type: "constant" value: 1 } data_filler { type: "constant" value: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
"""


def test_weights_set_between_steps_leave_the_momentum_alone(ops: Ops, tmp_path: Path) -> None:
    solver = solver_of(tmp_path, LINEAR, ops)
    weights, bias = solver.net.params["ip"]
    solver.step(1)
    first = weights.diff.copy()  # rate times gradient
    weights.data[...] = 0
    bias.data[...] = 0
    solver.step(1)
    np.testing.assert_allclose(weights.diff, 1.9 * first, rtol=1e-5)
    np.testing.assert_allclose(weights.data, -1.9 * first, rtol=1e-5)


def test_a_net_is_trained_by_hand(ops: Ops, tmp_path: Path) -> None:
    net = open_text(tmp_path, LINEAR, caffe.TRAIN, ops)
    losses = []
    for _ in range(8):
        net.clear_param_diffs()
        losses.append(float(net.forward()["loss"]))
        net.backward()
        for blobs in net.params.values():
            for blob in blobs:
                blob.data[...] -= 0.1 * blob.diff
    np.testing.assert_allclose(losses, [4 * 0.36**step for step in range(8)], rtol=1e-4)


# ---- several inputs

SENTENCES = """
layer { name: "in" type: "Input" top: "cont" top: "words" top: "image"
  input_param { shape { dim: 1 dim: 3 } shape { dim: 1 dim: 3 } shape { dim: 3 dim: 6 } } }
layer { name: "embedded" type: "Embed" bottom: "words" top: "embedded" embed_param {
  input_dim: 11 num_output: 7 bias_term: false weight_filler { type: "uniform" min: -1 } } }
layer { name: "lstm" type: "LSTM" bottom: "embedded" bottom: "cont" bottom: "image" top: "lstm"
  recurrent_param { num_output: 5 weight_filler { type: "uniform" min: -0.8 max: 0.8 } } }
layer { name: "predict" type: "InnerProduct" bottom: "lstm" top: "predict" inner_product_param {
  num_output: 11 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "probs" type: "Softmax" bottom: "predict" top: "probs" softmax_param { axis: 2 } }
"""


def test_sentences_are_made_word_by_word(ops: Ops, tmp_path: Path) -> None:
    """As captions are: what the net said last goes in next, for any number of images at once."""
    net = open_text(tmp_path, SENTENCES, ops=ops)

    def sentences(images: np.ndarray) -> np.ndarray:
        count = len(images)
        for name, shape in (("cont", (1, count)), ("words", (1, count)), ("image", images.shape)):
            net.blobs[name].reshape(*shape)
        cont, words, told = np.zeros((1, count)), np.zeros((1, count)), []
        for _ in range(4):
            probs = net.forward(image=images, cont=cont, words=words)["probs"][0].copy()
            told.append(probs)
            words[0], cont[:] = probs.argmax(1), 1
        return np.array(told)  # (4, count, 11)

    images = RANDOM.standard_normal((5, 6))
    together = sentences(images)
    assert np.abs(together[1] - together[2]).max() > 1e-4
    alone = [sentences(images[index : index + 1])[:, 0] for index in range(5)]
    np.testing.assert_allclose(together, np.stack(alone, 1), rtol=RTOL, atol=ATOL)


# ---- the user's own layers


TIMES = """
import caffe


class Times(caffe.Layer):
    failing = False

    def setup(self, bottom, top): pass

    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = {0} * bottom[0].data
        if Times.failing:
            raise LookupError("mine")

    def backward(self, top, propagate_down, bottom):
        if Times.failing:
            raise LookupError("mine")
        bottom[0].diff[...] = {0} * top[0].diff
"""
BETWEEN = (
    'force_backward: true layer { name: "in" type: "Input" top: "x" '
    "input_param { shape { dim: 2 dim: 3 } } }"
    'layer { name: "p" type: "Power" bottom: "x" top: "p" power_param { scale: 2 } }'
    + python_layer("Times", 'bottom: "p" top: "t"', module="times")
    + 'layer { name: "q" type: "Power" bottom: "t" top: "q" power_param { scale: 5 } }'
)


def test_a_pass_that_fails_in_the_middle_leaves_the_net_usable(
    ops: Ops, tmp_path: Path, modules_as_before: None
) -> None:
    (tmp_path / "times.py").write_text(TIMES.format(3))
    net = open_text(tmp_path, BETWEEN, ops=ops)
    layer = type(net.layers[2])
    for value in range(4):
        layer.failing = value % 2 == 0  # type: ignore[attr-defined]
        x = np.full((2, 3), value)
        if value % 2 == 0:
            with pytest.raises(LookupError, match="mine"):
                net.forward(x=x)
            with pytest.raises(LookupError, match="mine"):
                net.backward(q=x)
        else:
            assert (net.forward(x=x)["q"] == 30 * value).all()
            assert (net.backward(q=x)["x"] == 30 * value).all()


def test_a_module_that_is_reloaded_counts_for_the_next_net(
    tmp_path: Path, modules_as_before: None
) -> None:
    (tmp_path / "times.py").write_text(TIMES.format(3))
    first = open_text(tmp_path, BETWEEN)
    (tmp_path / "times.py").write_text(TIMES.format(1000))  # another length than before
    importlib.reload(sys.modules["times"])
    second = open_text(tmp_path, BETWEEN)
    x = np.ones((2, 3))
    assert (first.forward(x=x)["q"] == 30).all()
    assert (second.forward(x=x)["q"] == 10000).all()


# ---- timing


def test_the_published_training_script_times_layers_and_knows_one_process(tmp_path: Path) -> None:
    solver = solver_of(tmp_path, LINEAR)
    timers = [caffe.Timer() for _ in solver.net.layers]
    total = caffe.Timer()
    nccl = caffe.NCCL(solver, caffe.NCCL.new_uid())
    nccl.bcast()
    solver.net.before_forward(lambda layer: timers[layer].start())
    solver.net.after_forward(lambda layer: timers[layer].stop())
    solver.add_callback(total.start, total.stop)
    solver.add_callback(nccl)
    solver.net.after_backward(nccl)
    solver.step(solver.param.max_iter)
    assert solver.iter == SOLVER["max_iter"]
    assert all(timer.ms > 0 for timer in [*timers, total])
