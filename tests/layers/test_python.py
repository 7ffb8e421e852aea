"""Python layers: blobs, life cycle, data, losses, parameters, on every backend."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.gradient_check import check_gradient
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.weights import load_weights
from caffepy.engine.weights_file import save_weights
from caffepy.proto.caffe_pb2 import TEST, TRAIN
from tests.harness import compare, make_layer
from tests.python_layers import build, python_layer, write_modules

pytestmark = pytest.mark.usefixtures("modules_as_before")

RANDOM = np.random.default_rng(0)
INPUT = """
layer { name: "in" type: "Input" top: "data" top: "target"
  input_param { shape { dim: 4 dim: 3 dim: 6 dim: 5 } shape { dim: 4 dim: 5 } } }
"""
CONVOLUTION = """
layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}" convolution_param {{
  num_output: {2} kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
"""
IP = """
layer {{ name: "ip" type: "InnerProduct" bottom: "{0}" top: "ip"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
"""
LOSS = 'layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "target" top: "loss" }'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds the modules of tests/python_layers.py."""
    write_modules(tmp_path)
    return tmp_path


def fill_inputs(net: Net, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    for name in net.inputs:
        blob = net.blobs[name]
        blob.data.write()[...] = random.standard_normal(blob.shape)


def passes(net: Net, count: int = 3) -> list[np.ndarray]:
    """Loss and gradients of passes on different inputs: the first is recorded, others replayed."""
    found = []
    for seed in range(count):
        fill_inputs(net, seed)
        net.parameters.clear_diffs()
        net.forward_backward()
        found.append(net.loss.read().copy())
        found += [one.blob.diff.read().copy() for one in net.parameters.learnable]
    return found


def assert_equal_passes(net: Net, other: Net) -> None:
    for found, expected in zip(passes(net), passes(other), strict=True):
        compare(found, expected, "loss or gradient")


# ---- what it computes


def test_the_published_euclidean_loss_is_caffes_own(ops: Ops, folder: Path) -> None:
    own = INPUT + CONVOLUTION.format("conv", "data", 4) + IP.format("conv")
    loss = python_layer(
        "EuclideanLossLayer",
        'bottom: "ip" bottom: "target" top: "loss" loss_weight: 1',
        module="pyloss",
    )
    net = build(folder, own + loss, ops)
    assert_equal_passes(net, build(folder, own + LOSS, ops))
    assert net.loss_weights == {"loss": 1.0}
    assert net.outputs == ["loss"]


def test_layers_between_blocked_layouts_see_plain_arrays(ops: Ops, folder: Path) -> None:
    """Python layers and Power layers, of one meaning, between convolutions."""

    def net(first: str, second: str) -> str:
        return (
            INPUT
            + CONVOLUTION.format("conv1", "data", 9)
            + first
            + CONVOLUTION.format("conv2", "ten", 4)
            + second
            + IP.format("conv2")
            + LOSS
        )

    python = net(
        python_layer("TimesTen", 'bottom: "conv1" top: "ten"'),
        python_layer("InPlace", 'bottom: "conv2" top: "conv2"'),
    )
    power = 'layer {{ name: "p{0}" type: "Power" bottom: "{0}" top: "{1}" power_param {{ {2} }} }}'
    own = net(
        power.format("conv1", "ten", "scale: 10"),
        power.format("conv2", "conv2", "scale: 2 shift: 1"),
    )
    assert_equal_passes(build(folder, python, ops), build(folder, own, ops))


def test_layers_in_a_row_multiply(ops: Ops, folder: Path) -> None:
    net = build(
        folder,
        "force_backward: true\n"
        + INPUT
        + python_layer("TimesTen", 'bottom: "data" top: "one"')
        + python_layer("TimesTen", 'bottom: "one" top: "two"').replace("TimesTen", "second", 1)
        + python_layer("TimesTen", 'bottom: "two" top: "three"').replace("TimesTen", "third", 1),
        ops,
    )
    for number in (8, 9):
        net.blobs["data"].data.write()[...] = number
        net.blobs["three"].diff.write()[...] = 7
        net.forward()
        net.backward()
        np.testing.assert_array_equal(
            net.blobs["three"].data.read(), np.full((4, 3, 6, 5), 1e3) * number
        )
        np.testing.assert_array_equal(net.blobs["data"].diff.read(), np.full((4, 3, 6, 5), 7e3))


def test_several_bottoms_and_tops(ops: Ops, folder: Path) -> None:
    bottoms = RANDOM.standard_normal((3, 2, 3)).astype(np.float32)
    run = make_layer(
        python_layer("SumAndProduct", 'top: "a" top: "b"').strip()[7:-1],
        list(bottoms),
        ops=ops,
        folders=(folder,),
    )
    total, product = run.forward()
    compare(total, bottoms.sum(0), "sum")
    compare(product, bottoms[0] * bottoms[2], "product")
    run.top[0].diff.write()[...] = 2
    run.top[1].diff.write()[...] = 3
    run.backward()
    compare(run.bottom[0].diff.read(), 2 + 3 * bottoms[2], "first")
    compare(run.bottom[1].diff.read(), np.full((2, 3), 2), "second")
    compare(run.bottom[2].diff.read(), 2 + 3 * bottoms[0], "third")


@pytest.mark.parametrize("kind", ["SumAndProduct", "Factor", "TimesTen"])
def test_gradients_of_a_layer_can_be_checked(kind: str, folder: Path) -> None:
    count = 3 if kind == "SumAndProduct" else 1
    tops = 'top: "a" top: "b"' if count == 3 else ""
    run = make_layer(
        python_layer(kind, tops).strip()[7:-1],
        list(RANDOM.standard_normal((count, 2, 3, 1, 2))),
        ops=NumpyOps(np.float64),
        folders=(folder,),
    )
    assert check_gradient(run.layer, run.bottom, run.top) >= 12 * count


def test_a_layer_without_bottoms_gives_data_of_changing_shapes(ops: Ops, folder: Path) -> None:
    sizes = [(5, 4), (5, 4), (3, 7), (1, 9)]
    images = python_layer("Images", 'top: "data" top: "label"', param_str=f"{{'sizes': {sizes}}}")
    net = build(folder, images + CONVOLUTION.format("conv", "data", 2), ops)
    weight, bias = (blob.data.read() for blob in net.layers[1].blobs)
    for turn in range(9):
        net.forward()
        height, width = sizes[turn % 4]
        data = np.arange(3.0 * height * width).reshape(1, 3, height, width) + turn % 4
        np.testing.assert_array_equal(net.blobs["data"].data.read(), data)
        np.testing.assert_array_equal(
            net.blobs["label"].data.read(), np.full((1, 1, height, width), turn % 4)
        )
        padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
        expected = np.einsum("nchwij,ocij->nohw", windows, weight) + bias[:, None, None]
        compare(net.blobs["conv"].data.read(), expected, "convolution", rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("phase", "expected"), [(TRAIN, 0), (TEST, 1)])
def test_a_layer_knows_its_phase(folder: Path, phase: int, expected: int) -> None:
    net = build(folder, python_layer("Phase", 'top: "phase"'), phase=phase)
    net.forward()
    assert net.blobs["phase"].data.read() == expected


@pytest.mark.parametrize("body", ["super().__init__(param, *args)", "self.built = True"])
def test_a_class_may_have_a_constructor(folder: Path, body: str) -> None:
    module = f"""
        from kinds import TimesTen
        class Built(TimesTen):
            def __init__(self, param, *args):
                {body}
                assert param.python_param.layer == 'Built'
            def setup(self, bottom, top):
                assert (self.param_str, self.type, len(self.blobs)) == ('text', 'Python', 0)
        """
    write_modules(folder, built=module)
    block = python_layer("Built", 'bottom: "data" top: "y"', "built", "text")
    build(folder, INPUT + block).forward()


def test_a_loss_shaped_in_forward_has_its_weight_everywhere(folder: Path) -> None:
    module = """
        import caffe
        class Growing(caffe.Layer):
            def setup(self, bottom, top): self.size = 1
            def reshape(self, bottom, top): pass
            def forward(self, bottom, top):
                self.size += 1
                top[0].reshape(self.size)
                top[0].data[...] = 1
        """
    write_modules(folder, growing=module)
    net = build(folder, python_layer("Growing", 'top: "loss" loss_weight: 3', module="growing"))
    for size in (2, 3, 4):
        net.forward()
        assert net.loss.read() == 3 * size
        np.testing.assert_array_equal(net.blobs["loss"].diff.read(), np.full(size, 3))


# ---- parameters


def test_a_blob_that_a_layer_adds_is_learnt(ops: Ops, folder: Path) -> None:
    specs = "param { lr_mult: 2 decay_mult: 0 }"
    net = build(
        folder,
        INPUT
        + CONVOLUTION.format("conv", "data", 4)
        + python_layer("Factor", f'bottom: "conv" top: "out" {specs}')
        + IP.format("out")
        + LOSS,
        ops,
    )
    factor = next(one for one in net.parameters.learnable if one.layer.name == "Factor")
    assert (factor.rate, factor.decay, factor.blob.shape) == (2.0, 0.0, (1,))
    fill_inputs(net)
    net.forward_backward()
    conv, out = net.blobs["conv"], net.blobs["out"]
    compare(out.data.read(), 3 * conv.data.read(), "top")
    compare(conv.diff.read(), 3 * out.diff.read(), "gradient of the bottom")
    gradient = (out.diff.read().astype(np.float64) * conv.data.read()).sum()
    compare(factor.blob.diff.read(), [gradient], "gradient of the factor")
    factor.blob.data.write()[...] = 5  # the array that the layer has held since setup shows it
    net.forward()
    compare(out.data.read(), 5 * conv.data.read(), "top with another factor")


def test_parameters_are_shared_saved_and_loaded(folder: Path) -> None:
    definition = INPUT + python_layer("Factor", 'bottom: "data" top: "y"').replace(
        "python_param", "param { lr_mult: 1 } python_param"
    )
    net, test_net = build(folder, definition), build(folder, definition, phase=TEST)
    test_net.share_parameters(net)
    net.layers[1].blobs[0].data.write()[...] = 7
    assert test_net.layers[1].blobs[0].data.read() == 7
    save_weights(net, folder / "net.caffemodel")
    other = build(folder, definition)
    load_weights(other, folder / "net.caffemodel")
    fill_inputs(other)
    other.forward()
    np.testing.assert_array_equal(other.blobs["y"].data.read(), 7 * other.blobs["data"].data.read())


def test_two_layers_may_share_a_blob_by_name(folder: Path) -> None:
    block = 'param {{ name: "f" }} bottom: "{}" top: "{}"'
    net = build(
        folder,
        INPUT
        + python_layer("Factor", block.format("data", "one"))
        + python_layer("Factor", block.format("one", "two")).replace("Factor", "again", 1),
    )
    assert len(net.parameters.learnable) == 1
    net.blobs["data"].data.write()[...] = 1
    net.forward()
    np.testing.assert_array_equal(net.blobs["two"].data.read(), np.full((4, 3, 6, 5), 9))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("self.blobs.add_blob(2)", "RuntimeError: add_blob\\(2,\\): the net takes"),
        ("self.blobs[0].reshape(2)", "learnable blobs to keep their shapes \\[\\(1,\\)\\], got"),
    ],
)
def test_learnable_blobs_are_fixed_after_setup(folder: Path, body: str, expected: str) -> None:
    module = f"""
        import caffe
        class Late(caffe.Layer):
            def setup(self, bottom, top): self.blobs.add_blob(1)
            def reshape(self, bottom, top): top[0].reshape(1)
            def forward(self, bottom, top): {body}
        """
    write_modules(folder, late=module)
    net = build(folder, python_layer("Late", 'top: "y"', module="late"))
    with pytest.raises(NetError, match=expected):
        net.forward()


# ---- arrays that outlive a call


def test_arrays_kept_from_reshape_stay_the_nets(ops: Ops, folder: Path) -> None:
    module = """
        import caffe
        class Keeping(caffe.Layer):
            def setup(self, bottom, top): pass
            def reshape(self, bottom, top):
                if not hasattr(self, 'x'):
                    top[0].reshape(*bottom[0].shape)
                    self.x, self.dx = bottom[0].data, bottom[0].diff
                    self.y, self.dy = top[0].data, top[0].diff
            def forward(self, bottom, top): self.y[...] = self.x * 10
            def backward(self, top, propagate_down, bottom): self.dx[...] = self.dy * 10
        """
    write_modules(folder, keeping=module)

    def net(kind: str, module: str) -> Net:
        between = python_layer(kind, 'bottom: "conv" top: "ten"', module)
        before, after = CONVOLUTION.format("conv", "data", 9), CONVOLUTION.format("conv2", "ten", 9)
        return build(folder, INPUT + before + between + after + IP.format("conv2") + LOSS, ops)

    assert_equal_passes(net("Keeping", "keeping"), net("TimesTen", "kinds"))


def test_no_array_is_left_over_from_a_pass(ops: Ops, folder: Path) -> None:
    net = build(folder, INPUT + python_layer("TimesTen", 'bottom: "data" top: "y"'), ops)
    net.forward()
    gc.collect()
    assert not any(blob.data.leased for blob in net.blobs.values())
