"""Batch normalisation, scale and bias of oneDNN against those of numpy."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.core.value import Value
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry, LrnGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.numpy.batch_norm import BatchNorm
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.binding import NormalisationFlag, aligned
from caffepy.engine.ops.onednn.execution import Scratchpad
from caffepy.engine.ops.onednn.library import available
from caffepy.engine.ops.onednn.normalisation import Normalisation
from caffepy.engine.ops.onednn.tensors import convolution_layout, describe_layout
from caffepy.proto.caffe_pb2 import TRAIN, NetParameter, NetState
from tests.onednn_values import (
    Numbers,
    Run,
    compare,
    layout_names,
    numbers,
    results,
    shapes,
    value_of,
)

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

EXAMPLES = settings(max_examples=30, deadline=None)


def batch_norm(stored: bool = False, in_place: bool = False, eps: float = 1e-3) -> Run:
    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy, *statistics = values
        op = ops.batch_norm(AxisGeometry.around(x.shape, 1), eps, 0.9)
        y, dx = (x, dy) if in_place else (Value(x.shape, ops.dtype), Value(x.shape, ops.dtype))
        if stored:
            op.forward_test(x, *statistics, out=y)
            op.backward_test(dy, out=dx)
        else:
            op.forward_train(x, *statistics, out=y)
            op.backward_train(dy, x, out=dx)
        return [y, dx, *statistics]

    return run


def scale(bias: bool = True, in_place: bool = False) -> Run:
    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy, s, b = values
        op = ops.scale(AxisGeometry.around(x.shape, 1))
        y, dx = (x, dy) if in_place else (Value(x.shape, ops.dtype), Value(x.shape, ops.dtype))
        ds, add_s, add_b = (Value(s.shape, ops.dtype) for _ in range(3))
        add_s.write()[...] = 3
        op.forward(x, s, b if bias else None, out=y)
        op.backward_params(dy, x, out_s=ds, add_s=add_s, add_b=add_b if bias else None)
        op.backward_data(dy, s, out=dx)
        return [y, dx, ds, add_s, add_b]

    return run


def add_bias(in_place: bool = False) -> Run:
    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy, b = values
        op = ops.bias(AxisGeometry.around(x.shape, 1))
        y = x if in_place else Value(x.shape, ops.dtype)
        db, add_b = Value(b.shape, ops.dtype), Value(b.shape, ops.dtype)
        add_b.write()[...] = 3
        op.forward(x, b, out=y)
        op.backward_bias(dy, out=db, add_b=add_b)
        return [y, db, add_b]

    return run


def statistics(channels: int) -> Numbers:
    """Sums of means and variances, and their weight."""
    return [numbers((channels,), 2), np.abs(numbers((channels,), 3)), np.float32([1.5])]


@EXAMPLES
@given(shape=shapes, layout=layout_names, in_place=st.booleans(), stored=st.booleans())
def test_batch_norm_equals_numpy(
    shape: tuple[int, ...], layout: str, in_place: bool, stored: bool
) -> None:
    x = 2 * numbers(shape) + 5
    inputs = [x, numbers(shape, 1), *statistics(shape[1])]
    compare(batch_norm(stored, in_place), inputs, layout, 1e-4)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 1, 2, 2, 2)])
def test_batch_norm_of_any_number_of_axes_equals_numpy(
    shape: tuple[int, ...], in_place: bool
) -> None:
    def run(ops: Ops, values: list[Value]) -> list[Value]:
        if len(shape) > 1:
            return batch_norm(False, in_place)(ops, values)
        return batch_norm(False, in_place)(
            ops,
            [value.viewed((5, 1)) for value in values[:2]]
            + [value.viewed((1,)) for value in values[2:]],
        )

    channels = shape[1] if len(shape) > 1 else 1
    compare(run, [numbers(shape), numbers(shape, 1), *statistics(channels)], "plain", 1e-4)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("layout", ["plain", "convolution"])
@pytest.mark.parametrize("special", [1e-39, 1e10, 1e25, np.inf, -np.inf, np.nan])
def test_batch_norm_of_extreme_numbers_equals_numpy(
    special: float, layout: str, stored: bool
) -> None:
    shape = (2, 17, 5, 3)
    x = numbers(shape)
    x[1, 5, 3, 2] = special
    inputs = [x, numbers(shape, 1), *statistics(17)]
    found = results(batch_norm(stored), OneDnnOps(), inputs, layout)
    expected = results(batch_norm(stored), NumpyOps(), inputs, "plain")
    for ours, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)


def test_batch_norm_without_stored_statistics_has_mean_and_variance_0() -> None:
    shape = (2, 17, 3, 3)
    zeros = [np.zeros(17, np.float32), np.zeros(17, np.float32), np.zeros(1, np.float32)]
    compare(batch_norm(stored=True), [numbers(shape), numbers(shape, 1), *zeros], "convolution")


def test_batch_norm_without_eps_is_numpys() -> None:
    ops = OneDnnOps()
    assert type(ops.batch_norm(AxisGeometry(2, 3, 4), 0.0, 0.9)) is BatchNorm


@pytest.mark.parametrize("layout", ["plain", "convolution"])
@pytest.mark.usefixtures("wide_vectors")
def test_batch_norm_of_images_is_computed_by_the_library(layout: str) -> None:
    ops, shape = OneDnnOps(), (2, 17, 5, 3)
    out = Value(shape)
    sums = [value_of(array, ops) for array in statistics(17)]
    op = ops.batch_norm(AxisGeometry.around(shape, 1), 1e-5, 0.9)
    op.forward_train(value_of(numbers(shape), ops, layout), *sums, out=out)
    assert out.fresh_layout is convolution_layout(shape)
    assert out.fresh_layout is not PLAIN


def test_batch_norm_follows_layouts_that_change_between_passes() -> None:
    ops, shape = OneDnnOps(), (2, 17, 5, 3)
    op = ops.batch_norm(AxisGeometry.around(shape, 1), 1e-3, 0.9)
    sums = [value_of(array, ops) for array in statistics(17)]
    x, dy = numbers(shape), numbers(shape, 1)
    gradients = []
    for x_layout, dy_layout in (("channels last", "plain"), ("convolution", "channels last")):
        dx = Value(shape)
        source = value_of(x, ops, x_layout)
        op.forward_train(source, *sums, out=Value(shape))
        op.backward_train(value_of(dy, ops, dy_layout), source, out=dx)
        assert dx.fresh_layout is source.fresh_layout
        gradients.append(dx.read())
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-5)


@EXAMPLES
@given(shape=shapes, layout=layout_names, bias=st.booleans(), in_place=st.booleans())
def test_scale_equals_numpy(
    shape: tuple[int, ...], layout: str, bias: bool, in_place: bool
) -> None:
    inputs = [numbers(shape), numbers(shape, 1), *statistics(shape[1])[:2]]
    compare(scale(bias, in_place), inputs, layout)


@EXAMPLES
@given(shape=shapes, layout=layout_names, in_place=st.booleans())
def test_bias_equals_numpy(shape: tuple[int, ...], layout: str, in_place: bool) -> None:
    compare(add_bias(in_place), [numbers(shape), numbers(shape, 1), numbers(shape[1:2])], layout)


@pytest.mark.parametrize("special", [0.0, 1e-39, 1e25, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_scale_of_extreme_numbers_equals_numpy(special: float, place: int) -> None:
    shape = (2, 17, 5, 3)
    inputs = [numbers(shape), numbers(shape, 1), numbers((17,), 2), numbers((17,), 3)]
    inputs[place][(..., *([1, 2] if place < 2 else []))] = special
    found = results(scale(), OneDnnOps(), inputs, "convolution")
    expected = results(scale(), NumpyOps(), inputs, "plain")
    for ours, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("axis", "num_axes"), [(0, 1), (0, 2), (2, 1), (1, 3), (1, 0)])
def test_scale_along_other_axes_equals_numpy(axis: int, num_axes: int) -> None:
    shape = (2, 17, 5, 3)
    geometry = AxisGeometry.around(shape, axis, num_axes)

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy, s = values
        op, y, dx, ds = (
            ops.scale(geometry),
            *(Value(shape, ops.dtype) for _ in range(2)),
            Value(s.shape, ops.dtype),
        )
        op.forward(x, s, None, out=y)
        op.backward_params(dy, x, out_s=ds)
        op.backward_data(dy, s, out=dx)
        return [y, dx, ds]

    inputs = [numbers(shape), numbers(shape, 1), numbers((geometry.size,), 2)]
    compare(run, inputs, "convolution")


def test_scale_and_bias_work_in_the_layout_they_find() -> None:
    ops, shape = OneDnnOps(), (2, 17, 5, 3)
    geometry, parameter = AxisGeometry.around(shape, 1), value_of(numbers((17,)), ops)
    for layout in ("plain", "convolution"):
        x = value_of(numbers(shape), ops, layout)
        scaled, shifted = Value(shape), Value(shape)
        ops.scale(geometry).forward(x, parameter, parameter, out=scaled)
        ops.bias(geometry).forward(x, parameter, out=shifted)
        assert scaled.fresh_layout is shifted.fresh_layout is x.fresh_layout


@EXAMPLES
@given(shape=shapes, relu=st.booleans())
def test_normalisation_with_factor_bias_and_relu_equals_the_ops_one_after_another(
    shape: tuple[int, ...], relu: bool
) -> None:
    layout, channels = convolution_layout(shape), shape[1]
    flags = NormalisationFlag.SCALE | NormalisationFlag.SHIFT
    if relu:
        flags |= NormalisationFlag.RELU
    tensor = describe_layout(layout, shape)
    fused = Normalisation(Scratchpad(), tensor, 1e-3, flags)
    x, dy, s, b = numbers(shape), numbers(shape, 1), numbers((channels,), 2), numbers((channels,))

    ops = NumpyOps(np.float64)
    geometry = AxisGeometry.around(shape, 1)
    sums = [Value((size,), np.float64) for size in (channels, channels, 1)]
    values = [value_of(array, ops) for array in (x, s, b, dy)]
    y, gradient = Value(shape, np.float64), Value(shape, np.float64)
    ds, db = Value((channels,), np.float64), Value((channels,), np.float64)
    normalise, multiply = ops.batch_norm(geometry, 1e-3, 0.9), ops.scale(geometry)
    normalise.forward_train(values[0], *sums, out=y)
    multiply.forward(y, values[1], values[2], out=y)
    linear = y.read().copy()
    gradient.write()[...] = dy * (linear > 0) if relu else dy
    multiply.backward_params(gradient, y, add_s=ds, add_b=db)
    multiply.backward_data(gradient, values[1], out=gradient)
    normalise.backward_train(gradient, values[0], out=gradient)

    def memory(array: np.ndarray) -> np.ndarray:
        buffer = aligned(tensor.bytes)
        if layout is PLAIN:
            buffer[:] = array.reshape(-1)
        else:
            layout.load(array, buffer)
        return buffer

    target, dx = aligned(tensor.bytes), aligned(tensor.bytes)
    mean, variance, found_ds, found_db = (aligned(4 * channels) for _ in range(4))
    source = memory(x)
    fused.forward(source, target, mean, variance, s, b)
    fused.backward(memory(dy), source, dx, mean, variance, s, found_ds, found_db)
    expected = np.maximum(linear, 0) if relu else linear
    pairs = ((target, expected), (dx, gradient.read()))
    for ours, reference in pairs:
        expected_memory = memory(reference.astype(np.float32))
        size = max(1.0, float(np.abs(reference).max()))
        np.testing.assert_allclose(ours, expected_memory, rtol=0, atol=1e-4 * size)
    np.testing.assert_allclose(found_ds, ds.read(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found_db, db.read(), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("wide_vectors")
def test_nothing_large_is_allocated_in_the_steady_state() -> None:
    ops, shape = OneDnnOps(), (2, 1040, 5, 3)
    geometry, channels = AxisGeometry.around(shape, 1), shape[1]
    x, dy = (value_of(numbers(shape, seed), ops, "convolution") for seed in range(2))
    y, dx = Value(shape), Value(shape)
    parameter, gradient = value_of(numbers((channels,)), ops), Value((channels,))
    sums = [value_of(array, ops) for array in statistics(channels)]
    normalise, multiply = ops.batch_norm(geometry, 1e-5, 0.9), ops.scale(geometry)
    add, respond = ops.bias(geometry), ops.lrn(LrnGeometry(shape, 5, 1e-4, 0.75, 1.0, False))

    def passes() -> None:
        normalise.forward_train(x, *sums, out=y)
        normalise.backward_train(dy, x, out=dx)
        normalise.forward_test(y, *sums, out=y)
        normalise.backward_test(dx, out=dx)
        multiply.forward(y, parameter, parameter, out=y)
        multiply.backward_params(dx, y, add_s=gradient, add_b=gradient)
        multiply.backward_data(dx, parameter, out=dx)
        add.forward(y, parameter, out=y)
        add.backward_bias(dx, add_b=gradient)
        respond.forward(x, out=y)
        respond.backward(dy, x, out=dx)

    for _ in range(3):
        passes()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        passes()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < 4 * channels


@pytest.mark.parametrize("policy", ["active", "PASSIVE"])
@pytest.mark.parametrize("layout", ["plain", "convolution"])
def test_normalisation_is_the_same_however_threads_wait(
    policy: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    inputs = [numbers((2, 17, 5, 3)), numbers((2, 17, 5, 3), 1), *statistics(17)]
    for in_place in (False, True):
        compare(batch_norm(in_place=in_place), inputs, layout, 1e-4)
    compare(batch_norm(stored=True), inputs, layout, 1e-4)
    compare(scale(), [*inputs[:2], *statistics(17)[:2]], layout)


NET = """
layer { name: "input" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 4 dim: 3 dim: 12 dim: 12 } shape { dim: 4 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 20 kernel_size: 3 bias_term: false
    weight_filler { type: "xavier" } } }
layer { name: "norm1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "tanh1" type: "TanH" bottom: "conv1" top: "conv1" }
layer { name: "lrn1" type: "LRN" bottom: "conv1" top: "lrn1" lrn_param { alpha: 0.5 } }
layer { name: "conv2" type: "Convolution" bottom: "lrn1" top: "conv2"
  convolution_param { num_output: 16 kernel_size: 3 bias_term: false
    weight_filler { type: "xavier" } } }
layer { name: "bias2" type: "Bias" bottom: "conv2" top: "bias2" }
layer { name: "lrn2" type: "LRN" bottom: "bias2" top: "lrn2"
  lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL } }
layer { name: "norm2" type: "BatchNorm" bottom: "lrn2" top: "norm2" }
layer { name: "ip" type: "InnerProduct" bottom: "norm2" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def gradients_of_net(ops: Ops) -> Numbers:
    """Of all parameters, after the third of three passes."""
    param = text_format.Parse(NET, NetParameter())
    net = Net(param, NetState(phase=TRAIN), ops=ops, registry=LAYERS, seed=3)
    net.blobs["data"].data.write()[...] = numbers((4, 3, 12, 12))
    net.blobs["label"].data.write()[...] = [0, 1, 2, 3]
    for _ in range(3):
        net.parameters.clear_diffs()
        net.forward_backward()
    return [parameter.blob.diff.read().copy() for parameter in net.parameters.learnable]


def test_gradients_of_a_net_equal_those_of_float64() -> None:
    found, expected = gradients_of_net(OneDnnOps()), gradients_of_net(NumpyOps(np.float64))
    for ours, reference in zip(found, expected, strict=True):
        size = float(np.abs(reference).max()) or 1
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-4 * size)


def test_runs_of_a_net_are_equal_to_the_bit() -> None:
    for first, second in zip(
        gradients_of_net(OneDnnOps()), gradients_of_net(OneDnnOps()), strict=True
    ):
        np.testing.assert_array_equal(first, second)
