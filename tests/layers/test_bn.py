"""BN of SegNet and BN of PSPNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError, WeightsError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.weights import load_weights
from caffepy.proto import weights
from caffepy.proto.caffe_pb2 import TEST, TRAIN, LayerParameter
from tests.harness import LayerRun, check_layer_gradient, compare, make_layer
from tests.nets import make_net

IN_PLACE = 'bottom: "x" top: "x"'
RANDOM = 'type: "gaussian" mean: 1 std: 0.5'
Blobs = list[np.ndarray]


def segnet(fields: str = "", names: str = "") -> str:
    return f"""type: "BN" {names} bn_param {{
        scale_filler {{ {RANDOM} }} shift_filler {{ {RANDOM} }} {fields} }}"""


def pspnet(fields: str = "", names: str = "") -> str:
    return f"""type: "BN" {names} bn_param {{
        slope_filler {{ {RANDOM} }} bias_filler {{ {RANDOM} }} {fields} }}"""


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape) * 2 + 1


def parameters(run: LayerRun) -> Blobs:
    return [blob.data.read().astype(np.float64).copy() for blob in run.layer.blobs]


def statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1, C, 1, ...) means and variances, by a loop over channels."""
    channels = np.moveaxis(x.astype(np.float64), 1, 0).reshape(x.shape[1], -1)
    mean = np.array([sum(row) / len(row) for row in channels])
    squares = [sum((row - m) ** 2) / len(row) for row, m in zip(channels, mean, strict=True)]
    shape = (1, x.shape[1]) + (1,) * (x.ndim - 2)
    return mean.reshape(shape), np.array(squares).reshape(shape)


def normalised(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, eps: float) -> np.ndarray:
    return (x - mean) / np.sqrt(variance + eps)


# ---- SegNet's


@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize("names", ["", IN_PLACE])
@pytest.mark.parametrize("shape", [(4, 3, 2, 5), (3, 17, 4, 4), (5, 2), (2, 3, 2, 2, 2)])
def test_segnet_normalises_by_the_batch_in_both_phases(
    shape: tuple[int, ...], names: str, phase: int, ops: Ops
) -> None:
    x = images(*shape)
    run = make_layer(segnet("bn_mode: LEARN", names), [x], ops=ops, phase=phase)
    s, b = (blob.reshape(1, -1, *(1,) * (x.ndim - 2)) for blob in parameters(run))
    assert [blob.shape for blob in run.layer.blobs] == [(1, shape[1], 1, 1)] * 2
    compare(run.forward()[0], s * normalised(x, *statistics(x), 1e-9) + b, "top")


@pytest.mark.parametrize("names", ["", IN_PLACE])
def test_segnet_s_inference_takes_no_statistics(names: str, ops: Ops) -> None:
    x = images(4, 3, 2, 5)
    run = make_layer(segnet("bn_mode: INFERENCE", names), [x], ops=ops)
    s, b = parameters(run)
    compare(run.forward()[0], s * x + b, "top")


def test_segnet_s_further_tops_are_mean_and_variance(ops: Ops) -> None:
    x = images(4, 3, 2, 5)
    tops = 'top: "y" top: "mean" top: "variance"'
    run = make_layer(segnet("bn_mode: LEARN", tops), [x], ops=ops)
    for found, expected in zip(run.forward()[1:], statistics(x), strict=True):
        assert found.shape == (1, 3, 1, 1)
        compare(found, expected, "statistic")
    run.bottom[0].data.write()[...] = np.nan
    run.forward()
    run.bottom[0].data.write()[...] = x
    compare(run.forward()[1], statistics(x)[0], "after a batch of nan")
    run = make_layer(segnet("bn_mode: INFERENCE", tops), [x], ops=ops)
    assert not any(top.any() for top in run.forward()[1:])


def test_only_its_first_top_has_elements_of_the_bottom() -> None:
    run = make_layer(segnet("bn_mode: LEARN", 'top: "y" top: "mean"'), [images(2, 3)])
    assert run.layer.origin(0, 4, run.bottom) == (0, 4)
    assert run.layer.origin(1, 2, run.bottom) is None


@settings(max_examples=10, deadline=None)
@given(
    shape=st.lists(st.integers(2, 4), min_size=1, max_size=4),
    names=st.sampled_from(["", IN_PLACE, 'top: "y" top: "mean"']),
)
def test_gradient_of_segnet(shape: list[int], names: str) -> None:
    """A further top has none."""
    run = segnet("bn_mode: LEARN", names)
    if "mean" in names:
        found = make_layer(run, [images(*shape)], ops=NumpyOps(np.float64))
        alone = make_layer(segnet("bn_mode: LEARN"), [images(*shape)], ops=NumpyOps(np.float64))
        for one in (found, alone):
            for blob, other in zip(one.layer.blobs, found.layer.blobs, strict=True):
                blob.data.write()[...] = other.data.read()
            one.forward()
            for top in one.top:
                top.diff.write()[...] = 1 + np.arange(top.count).reshape(top.shape)
            one.backward()
        np.testing.assert_array_equal(found.bottom[0].diff.read(), alone.bottom[0].diff.read())
    else:
        check_layer_gradient(run, [images(*shape)])


@pytest.mark.parametrize("names", ["", IN_PLACE])
def test_gradient_of_segnet_s_inference(names: str) -> None:
    check_layer_gradient(segnet("bn_mode: INFERENCE", names), [images(3, 2, 2)])


# ---- PSPNet's


@pytest.mark.parametrize("names", ["", IN_PLACE])
@pytest.mark.parametrize("shape", [(4, 3, 2, 5), (3, 17, 4, 4), (5, 2)])
def test_pspnet_keeps_running_statistics(shape: tuple[int, ...], names: str, ops: Ops) -> None:
    run = make_layer(pspnet("momentum: 0.75 eps: 0.01", names), [images(*shape)], ops=ops)
    s, b, *kept = parameters(run)
    assert [blob.shape for blob in run.layer.blobs] == [(1, shape[1], 1, 1)] * 4
    assert not any(statistic.any() for statistic in kept)
    around = (1, -1, *(1,) * (len(shape) - 2))
    for seed in range(3):
        x = images(*shape, seed=seed)
        run.bottom[0].data.write()[...] = x
        found = statistics(x)
        y = s.reshape(around) * normalised(x, *found, 0.01) + b.reshape(around)
        compare(run.forward()[0], y, "top")
        for place, new in enumerate(found):
            kept[place] = 0.75 * kept[place] + 0.25 * new.reshape(kept[place].shape)
            compare(run.layer.blobs[2 + place].data.read(), kept[place], "running statistic")


@pytest.mark.parametrize(("fields", "phase"), [("", TEST), ("frozen: true", TRAIN)])
@pytest.mark.parametrize("names", ["", IN_PLACE])
def test_pspnet_takes_its_running_statistics(fields: str, phase: int, names: str, ops: Ops) -> None:
    x = images(4, 3, 2, 5)
    run = make_layer(pspnet(f"eps: 0.01 {fields}", names), [x], ops=ops, phase=phase)
    assert run.layer.blobs[3].data.read().any() == ("frozen" in fields)
    for place, blob in enumerate(run.layer.blobs):
        blob.data.write()[...] = 0.5 + np.arange(3).reshape(blob.shape) + place
    s, b, mean, variance = parameters(run)
    compare(run.forward()[0], s * normalised(x, mean, variance, 0.01) + b, "top")
    for blob, before in zip(run.layer.blobs[2:], (mean, variance), strict=True):
        np.testing.assert_array_equal(blob.data.read(), before)


@settings(max_examples=10, deadline=None)
@given(
    shape=st.lists(st.integers(2, 4), min_size=1, max_size=4),
    names=st.sampled_from(["", IN_PLACE]),
    eps=st.sampled_from([1e-5, 0.1]),
)
def test_gradient_of_pspnet(shape: list[int], names: str, eps: float) -> None:
    param = "param { lr_mult: 1 } param { lr_mult: 1 } " + pspnet(f"eps: {eps}", names)
    x = images(*shape)
    check_layer_gradient(param, [x], check_parameters=False)
    check_slope_and_bias(param, x, TRAIN)


def check_slope_and_bias(param: str, x: np.ndarray, phase: int) -> None:
    """Their gradients against central differences; the running statistics have none."""
    run = make_layer(param, [x], ops=NumpyOps(np.float64), phase=phase)
    for blob in run.layer.blobs[2:]:
        blob.data.write()[...] = 0.5

    def top() -> np.ndarray:
        run.bottom[0].data.write()[...] = x
        run.layer.forward(run.bottom, run.top)
        return run.top[0].data.read().copy()

    dy = np.random.default_rng(5).standard_normal(x.shape)
    top()
    run.top[0].diff.write()[...] = dy
    run.backward()
    for blob in run.layer.blobs[:2]:
        gradient, values = blob.diff.read().copy(), blob.data.read().copy()
        for place in np.ndindex(values.shape):
            sides = []
            for offset in (1e-5, -1e-5):
                moved = values.copy()
                moved[place] += offset
                blob.data.write()[...] = moved
                sides.append((top() * dy).sum())
            blob.data.write()[...] = values
            assert gradient[place] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-6)
    assert not any(blob.diff.read().any() for blob in run.layer.blobs[2:])


@pytest.mark.parametrize("names", ["", IN_PLACE])
def test_gradient_by_running_statistics_is_theirs(names: str) -> None:
    """In phase TEST the fork takes the gradient of a batch's statistics, which is not the top's."""
    param = pspnet("eps: 0.3", names)
    check_layer_gradient(param, [images(3, 2, 2)], phase=TEST, check_parameters=False)
    check_slope_and_bias(param, images(3, 2, 2), TEST)
    frozen = pspnet("eps: 0.3 frozen: true", names)
    check_layer_gradient(frozen, [images(3, 2, 2)], check_parameters=False)


def test_what_is_frozen_does_not_learn(ops: Ops) -> None:
    for fields, rates in (("frozen: false", [2, 1, 0, 0]), ("frozen: true", [0] * 4)):
        param = "param { lr_mult: 2 } param { } param { lr_mult: 5 } " + pspnet(fields)
        run = make_layer(param, [images(2, 3)], ops=ops)
        assert [spec.lr_mult for spec in run.layer.param.param] == rates
        run.forward()
        run.top[0].diff.write()[...] = images(2, 3, seed=1)
        run.backward()
        learns = [blob.diff.read().any() for blob in run.layer.blobs]
        assert learns == [bool(rates[0]), bool(rates[1]), False, False]


NET = """
    layer {{ name: "x" type: "Input" top: "x" input_param {{
      shape {{ dim: 2 dim: 3 dim: 6 dim: 5 }} }} }}
    layer {{ name: "conv" type: "Convolution" bottom: "x" top: "y" convolution_param {{
      num_output: 16 kernel_size: 3 bias_term: false weight_filler {{ type: "xavier" }} }} }}
    {layers}
    layer {{ name: "relu" type: "ReLU" bottom: "y" top: "y" }}
    layer {{ name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1
      reduction_param {{ operation: SUMSQ }} }}
    force_backward: true
"""
BN = """layer {{ name: "bn" type: "BN" bottom: "y" top: "y" bn_param {{ momentum: 0.5 {fields}
      slope_filler {{ value: 2 }} bias_filler {{ value: 0.5 }} }} }}"""
BATCH_NORM = """
    layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" }
    layer { name: "scale" type: "Scale" bottom: "y" top: "y" scale_param {
      filler { value: 2 } bias_term: true bias_filler { value: 0.5 } } }"""


def test_in_a_net_it_is_batch_norm_and_scale(ops: Ops) -> None:
    """Fused with what is around it, in phase TRAIN; the bits are the same."""
    nets = [
        make_net(NET.format(layers=layers), ops) for layers in (BN.format(fields=""), BATCH_NORM)
    ]
    found = []
    for net in nets:
        net.blobs["x"].data.write()[...] = images(2, 3, 6, 5)
        for blob, other in zip(net.layers[1].blobs, nets[0].layers[1].blobs, strict=True):
            blob.data.write()[...] = other.data.read()
        for _ in range(3):
            for layer in net.layers:
                for blob in layer.blobs:
                    blob.diff.clear()
            net.forward_backward()
        blobs = [net.blobs[name] for name in ("x", "y", "loss")]
        gradients = [blob.diff.read() for layer in net.layers for blob in layer.blobs]
        found.append([blob.data.read() for blob in blobs] + [blobs[0].diff.read()])
        found[-1] += [gradient.reshape(-1) for gradient in gradients if gradient.any()]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("fields", "phase"), [("", TEST), ("frozen: true", TRAIN)])
def test_in_a_net_of_phase_test_or_frozen(fields: str, phase: int, ops: Ops) -> None:
    net = make_net(NET.format(layers=BN.format(fields=fields)), ops, phase=phase)
    _, bn = net.layers[1:3]
    net.blobs["x"].data.write()[...] = images(2, 3, 6, 5)
    for place, blob in enumerate(bn.blobs):
        blob.data.write()[...] = 0.3 * place + np.arange(16).reshape(blob.shape) / 8
    for _ in range(2):
        net.forward()
    kernels = net.layers[1].blobs[0].data.read().astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(images(2, 3, 6, 5), (3, 3), axis=(2, 3))
    x = np.einsum("nchwij,ocij->nohw", windows, kernels)
    s, b, mean, variance = (blob.data.read().astype(np.float64) for blob in bn.blobs)
    expected = np.maximum(s * normalised(x, mean, variance, 1e-5) + b, 0)
    compare(net.blobs["y"].data.read(), expected, "y")


# ---- files


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3), (3,)])
def test_blobs_of_a_file_may_have_the_shapes_of_the_forks(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    text = f"""layer {{ name: "x" type: "Input" top: "x" input_param {{
        shape {{ dim: 1 dim: 3 dim: 2 dim: 2 }} }} }}
        layer {{ name: "bn" bottom: "x" top: "y" {pspnet()} }}"""
    net = make_net(text)
    arrays = [np.full(shape, number, np.float32) for number in range(4)]
    path = tmp_path / "some.caffemodel"
    layer = LayerParameter(name="bn", type="BN")
    blobs = [weights.BlobArray(array, array.shape, False, None) for array in arrays]
    path.write_bytes(b"".join(weights.encode_net("net", [(layer, blobs)])))
    load_weights(net, path)
    for blob, array in zip(net.layers[1].blobs, arrays, strict=True):
        np.testing.assert_array_equal(blob.data.read().reshape(shape), array)


# ---- which of the two it is, and refusals


def test_four_param_blocks_say_that_it_is_pspnet_s() -> None:
    run = make_layer('type: "BN" param { } param { } param { } param { }', [images(2, 3)])
    assert len(run.layer.blobs) == 4


def test_further_tops_say_that_it_is_segnet_s() -> None:
    run = make_layer('type: "BN" top: "y" top: "mean"', [images(2, 3)])
    assert len(run.layer.blobs) == 2


@pytest.mark.parametrize("fields", ["", "bn_param { engine: CUDNN }"])
def test_nothing_that_tells_them_apart_is_refused_with_both_readings(fields: str) -> None:
    with pytest.raises(NetError, match=r"--dialect segnet.*--dialect pspnet"):
        make_layer(f'type: "BN" {fields}', [images(2, 3)])


@pytest.mark.parametrize(
    ("dialect", "blobs"), [("segnet", 2), ("segnet_cudnn5", 2), ("pspnet", 4), ("yjxiong", 4)]
)
def test_the_dialect_says_which_where_nothing_else_does(dialect: str, blobs: int) -> None:
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "bn" type: "BN" bottom: "x" top: "y" bn_param { engine: CUDNN } }
        layer { name: "other" type: "BN" bottom: "x" top: "z" bn_param { bn_mode: INFERENCE } }"""
    bn, other = make_net(text, dialect=dialect).layers[-2:]
    assert [len(layer.blobs) for layer in (bn, other)] == [blobs, 2]


def test_fields_of_both_are_refused() -> None:
    with pytest.raises(NetError, match=r"got scale_filler of SegNet's and momentum of PSPNet's"):
        make_layer('type: "BN" bn_param { scale_filler { } momentum: 0.9 }', [images(2, 3)])


def test_further_tops_of_pspnet_s_are_refused() -> None:
    with pytest.raises(NetError, match=r"expected 1 top blob, since this is PSPNet's BN, got 2"):
        make_layer(pspnet("", 'top: "y" top: "mean"'), [images(2, 3)])


@pytest.mark.parametrize("field", ["moving_average: true", "rebn: true", "max_r: 1"])
def test_a_field_of_another_fork_is_refused(field: str) -> None:
    with pytest.raises(NetError, match="expected it to be left out or at its default"):
        make_layer(pspnet(field), [images(2, 3)])


def test_changed_channels_and_empty_batches_are_refused() -> None:
    run = make_layer(pspnet(), [images(2, 3)])
    run.bottom[0].reshape((2, 4))
    with pytest.raises(ShapeError, match="expected 3 channels, as when the statistics were made"):
        run.layer.reshape(run.bottom, run.top)
    with pytest.raises(ShapeError, match="expected at least 1 element per channel"):
        make_layer(segnet("bn_mode: LEARN"), [images(0, 3)])
    inference = make_layer(segnet("bn_mode: INFERENCE"), [images(0, 3)])
    assert inference.forward()[0].shape == (0, 3)


def test_blobs_of_other_sizes_are_refused(tmp_path: Path) -> None:
    net = make_net(
        f"""layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 3 }} }} }}
        layer {{ name: "bn" bottom: "x" top: "y" {segnet()} }}"""
    )
    path = tmp_path / "some.caffemodel"
    array = np.ones((1, 4, 1, 1), np.float32)
    blobs = [weights.BlobArray(array, array.shape, False, None)] * 2
    layer = LayerParameter(name="bn", type="BN")
    path.write_bytes(b"".join(weights.encode_net("net", [(layer, blobs)])))
    with pytest.raises(WeightsError, match=r"expected shape \(1, 3, 1, 1\), .* got \(1, 4, 1, 1\)"):
        load_weights(net, path)
