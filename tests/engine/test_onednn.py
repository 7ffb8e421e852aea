"""The ops of oneDNN against those of numpy."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.record import Recorder
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import (
    ConvolutionGeometry,
    InnerProductGeometry,
    PoolingGeometry,
)
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.numpy.convolution import Convolution
from caffepy.engine.ops.numpy.pooling import Pooling
from caffepy.engine.ops.onednn.activation import CHUNK
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.layout import layout_of
from caffepy.engine.ops.onednn.library import available
from caffepy.engine.ops.onednn.pooling import OneDnnPooling
from caffepy.engine.ops.onednn.tensors import channels_last

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

TOLERANCE = 1e-5  # of float32 sums of products, relative to the largest element
EXAMPLES = settings(max_examples=25, deadline=None)
small = st.integers(1, 3)
Run = Callable[[Ops, list[Value]], list[Value]]


def numbers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def value_of(array: np.ndarray) -> Value:
    value = Value(array.shape)
    value.write()[...] = array
    return value


def blocked_value(array: np.ndarray) -> Value:
    """A value whose content was written by a convolution, in whatever layout that chose."""
    geometry = ConvolutionGeometry(array.shape, array.shape[1], (1, 1), (1, 1), (0, 0), (1, 1))
    ones = value_of(np.eye(array.shape[1], dtype=np.float32).reshape(geometry.weight_shape))
    out = Value(array.shape)
    OneDnnOps().convolution(geometry).forward(value_of(array), ones, None, out=out)
    return out


def compare(run: Run, inputs: Sequence[np.ndarray]) -> None:
    """Runs with both backends on values of `inputs`; what it returns must agree."""
    found, expected = (
        [value.read().copy() for value in run(ops, [value_of(array) for array in inputs])]
        for ops in (OneDnnOps(), NumpyOps())
    )
    for ours, reference in zip(found, expected, strict=True):
        scale = max(1.0, float(np.abs(reference).max()))
        np.testing.assert_allclose(ours, reference, rtol=0, atol=TOLERANCE * scale)


def weighted(op_of: Callable[[Ops], object], weights: tuple[int, ...], bias: bool) -> Run:
    """All passes of an op with weights; two passes into the parameters add up."""

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, w, b, dy = values
        op = op_of(ops)
        y, dx, dw, db = Value(dy.shape), Value(x.shape), Value(weights), Value(b.shape)
        op.forward(x, w, b if bias else None, out=y)
        op.backward_data(dy, w, out=dx)
        for _ in range(2):
            op.backward_params(dy, x, add_w=dw, add_b=db if bias else None)
        return [y, dx, dw, db] if bias else [y, dx, dw]

    return run


@EXAMPLES
@given(
    samples=small, per_group=st.integers(1, 20), group=small, out_per_group=st.integers(1, 18),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)), kernel=st.tuples(small, small),
    stride=st.tuples(small, small), pad=st.tuples(*[st.integers(0, 2)] * 2),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)), bias=st.booleans(),
)  # fmt: skip
def test_convolution_equals_numpy(
    samples: int, per_group: int, group: int, out_per_group: int, size: tuple[int, int],
    kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int],
    dilation: tuple[int, int], bias: bool,
) -> None:  # fmt: skip
    geometry = ConvolutionGeometry(
        (samples, per_group * group, *size), out_per_group * group, kernel, stride, pad, dilation,
        group,
    )  # fmt: skip
    assume(min(geometry.out_shape) > 0)
    shapes = (geometry.shape, geometry.weight_shape, (geometry.num_output,), geometry.out_shape)
    compare(
        weighted(lambda ops: ops.convolution(geometry), geometry.weight_shape, bias),
        [numbers(shape, seed) for seed, shape in enumerate(shapes)],
    )


@pytest.mark.parametrize("channels", [16, 17])
@pytest.mark.parametrize("spatial", [(9,), (4, 5, 6)])
def test_convolution_over_one_and_three_axes_equals_numpy(
    spatial: tuple[int, ...], channels: int
) -> None:
    ones = (1,) * len(spatial)
    geometry = ConvolutionGeometry((2, channels, *spatial), 5, ones, ones, ones, ones)
    shapes = (geometry.shape, geometry.weight_shape, (5,), geometry.out_shape)
    compare(
        weighted(lambda ops: ops.convolution(geometry), geometry.weight_shape, True),
        [numbers(shape, seed) for seed, shape in enumerate(shapes)],
    )


def test_depthwise_convolution_equals_numpy() -> None:
    geometry = ConvolutionGeometry((2, 33, 8, 7), 33, (3, 3), (2, 1), (1, 1), (1, 1), 33)
    shapes = (geometry.shape, geometry.weight_shape, (33,), geometry.out_shape)
    compare(
        weighted(lambda ops: ops.convolution(geometry), geometry.weight_shape, True),
        [numbers(shape, seed) for seed, shape in enumerate(shapes)],
    )


@EXAMPLES
@given(
    rows=st.integers(1, 9), inputs=st.integers(1, 70), outputs=st.integers(1, 70),
    bias=st.booleans(), transpose=st.booleans(),
)  # fmt: skip
def test_inner_product_equals_numpy(
    rows: int, inputs: int, outputs: int, bias: bool, transpose: bool
) -> None:
    geometry = InnerProductGeometry(rows, inputs, outputs, transpose)
    shapes = ((rows, inputs), geometry.weight_shape, (outputs,), (rows, outputs))
    compare(
        weighted(lambda ops: ops.inner_product(geometry), geometry.weight_shape, bias),
        [numbers(shape, seed) for seed, shape in enumerate(shapes)],
    )


@EXAMPLES
@given(
    method=st.sampled_from(["MAX", "AVE"]), channels=st.integers(1, 20),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), stride=st.tuples(small, small),
    pad=st.tuples(*[st.integers(0, 2)] * 2), ceil=st.booleans(), blocked=st.booleans(),
)  # fmt: skip
def test_pooling_equals_numpy_ties_and_clipped_windows_included(
    method: str, channels: int, size: tuple[int, int], kernel: tuple[int, int],
    stride: tuple[int, int], pad: tuple[int, int], ceil: bool, blocked: bool,
) -> None:  # fmt: skip
    geometry = PoolingGeometry((2, channels, *size), method, kernel, stride, pad, ceil)
    assume(all(p < k <= s + 2 * p for p, k, s in zip(pad, kernel, size, strict=True)))
    ends_outside = any(
        (out - 1) * step >= extent + p
        for out, step, extent, p in zip(geometry.out_size, stride, size, pad, strict=True)
    )
    assume(not ends_outside)  # the layer refuses such windows
    x = np.round(numbers(geometry.shape, 0))

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        _, dy = values
        source = blocked_value(x) if blocked and isinstance(ops, OneDnnOps) else values[0]
        op = ops.pooling(geometry)
        y, dx = Value(geometry.out_shape), Value(geometry.shape)
        op.forward(source, out=y)
        op.backward(dy, source, out=dx)
        return [y, dx]

    compare(run, [x, numbers(geometry.out_shape, 1)])


def test_the_first_of_equal_maxima_takes_the_gradient() -> None:
    geometry = PoolingGeometry((1, 16, 2, 2), "MAX", (2, 2), (2, 2), (0, 0))
    for value_at in itertools.product([0.0, 1.0], repeat=4):
        x = np.broadcast_to(np.reshape(value_at, (1, 1, 2, 2)), geometry.shape)
        for source in (value_of(x), blocked_value(x)):
            op, dx = OneDnnOps().pooling(geometry), Value(geometry.shape)
            op.forward(source, out=Value(geometry.out_shape))
            op.backward(value_of(np.ones(geometry.out_shape)), source, out=dx)
            first = int(np.argmax(value_at))
            expected = np.eye(4)[first].reshape(2, 2)
            np.testing.assert_array_equal(dx.read(), np.broadcast_to(expected, dx.shape))


def test_maximum_pooling_passes_over_nan_as_caffe_does() -> None:
    geometry = PoolingGeometry((1, 1, 2, 2), "MAX", (2, 2), (2, 2), (0, 0))
    x, y = value_of(np.array([[[[np.nan, 1], [2, 0]]]])), Value(geometry.out_shape)
    OneDnnOps().pooling(geometry).forward(x, out=y)
    assert y.read() == 2


def test_a_mask_comes_from_numpy_and_backward_follows() -> None:
    geometry = PoolingGeometry((2, 3, 5, 5), "MAX", (3, 3), (2, 2), (1, 1))

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy = values
        op = ops.pooling(geometry)
        y, mask = Value(geometry.out_shape), Value(geometry.out_shape)
        dx, dx_without_mask = Value(geometry.shape), Value(geometry.shape)
        op.forward(x, out=y, mask=mask)
        op.backward(dy, x, out=dx)
        op.forward(x, out=y)
        op.backward(dy, x, out=dx_without_mask)
        return [y, mask, dx, dx_without_mask]

    compare(run, [numbers(geometry.shape, 0), numbers(geometry.out_shape, 1)])


def test_an_op_inside_an_op_is_recorded_once() -> None:
    geometry = PoolingGeometry((1, 1, 4, 4), "MAX", (2, 2), (2, 2), (0, 0))
    ops, x = OneDnnOps(), value_of(numbers(geometry.shape, 0))
    ops.recorder = Recorder()
    y, mask = Value(geometry.out_shape), Value(geometry.out_shape)
    ops.pooling(geometry).forward(x, out=y, mask=mask)
    assert [step.name for step in ops.recorder.steps] == ["OneDnnPooling.forward"]
    assert ops.recorder.steps[0].writes == (y, mask)


@EXAMPLES
@given(
    slope=st.sampled_from([0.0, 0.3]), in_place=st.booleans(), blocked=st.booleans(),
    channels=st.integers(1, 20),
)  # fmt: skip
def test_relu_equals_numpy(slope: float, in_place: bool, blocked: bool, channels: int) -> None:
    shape = (2, channels, 3, 5)

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy = values
        if blocked and isinstance(ops, OneDnnOps):
            x, dy = blocked_value(numbers(shape, 0)), blocked_value(numbers(shape, 1))
        op = ops.relu(slope)
        y, dx = (x, dy) if in_place else (Value(shape), Value(shape))
        op.forward(x, out=y)
        op.backward(dy, x, out=dx)
        return [y, dx]

    compare(run, [numbers(shape, 0), numbers(shape, 1)])


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_relu_keeps_nan_and_infinity_as_caffe_does(slope: float) -> None:
    x = np.tile(np.float32([np.nan, -np.inf, np.inf, -1, 0, 1]), 50)
    out = Value(x.shape)
    OneDnnOps().relu(slope).forward(value_of(x), out=out)
    expected = np.where(x > 0, x, np.float32(slope) * x) if slope else np.maximum(x, 0)
    np.testing.assert_array_equal(out.read(), expected)


def test_relu_of_many_elements_works_in_chunks() -> None:
    x = numbers((2 * CHUNK + 17,), 0)
    value = value_of(x)
    OneDnnOps().relu().forward(value, out=value)
    np.testing.assert_array_equal(value.read(), np.maximum(x, 0))


def test_relu_works_in_the_layout_it_finds() -> None:
    value = blocked_value(numbers((2, 16, 8, 8), 0))
    layout = value.fresh_layout
    OneDnnOps().relu().forward(value, out=value)
    assert value.fresh_layout is layout
    assert layout is not PLAIN


def test_weights_are_kept_in_the_layout_of_their_first_user() -> None:
    ops, geometry = OneDnnOps(), InnerProductGeometry(64, 300, 200)
    w = value_of(numbers(geometry.weight_shape, 0))
    x, y = value_of(numbers((64, 300), 1)), Value((64, 200))
    ops.inner_product(geometry).forward(x, w, None, out=y)
    home = w.home
    assert home is not PLAIN
    ops.inner_product(InnerProductGeometry(1, 300, 200)).forward(
        value_of(numbers((1, 300), 1)), w, None, out=Value((1, 200))
    )
    assert w.home is home
    w.home.elements(w.modify(w.home))[:] *= 2
    doubled = Value((64, 200))
    ops.inner_product(geometry).forward(x, w, None, out=doubled)
    np.testing.assert_allclose(doubled.read(), 2 * y.read(), rtol=1e-6)


def test_a_cleared_gradient_is_written_and_any_other_added_to() -> None:
    geometry = InnerProductGeometry(3, 20, 10)
    op = OneDnnOps().inner_product(geometry)
    x, dy = numbers((3, 20), 0), numbers((3, 10), 1)
    dw, db = value_of(np.ones((10, 20))), value_of(np.ones(10))
    lease = dw.lease()
    op.backward_params(value_of(dy), value_of(x), add_w=dw, add_b=db)
    np.testing.assert_allclose(lease, 1 + dy.T @ x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(db.read(), 1 + dy.sum(axis=0), rtol=1e-5, atol=1e-5)
    del lease
    dw.clear()
    op.backward_params(value_of(dy), value_of(x), add_w=dw)
    np.testing.assert_allclose(dw.read(), dy.T @ x, rtol=1e-5, atol=1e-5)


def test_only_the_bias_gradient_may_be_wanted() -> None:
    op, dy = OneDnnOps().inner_product(InnerProductGeometry(3, 4, 5)), numbers((3, 5), 0)
    db = Value((5,))
    op.backward_params(value_of(dy), value_of(numbers((3, 4), 1)), add_b=db)
    np.testing.assert_allclose(db.read(), dy.sum(axis=0), rtol=1e-5, atol=1e-6)


def test_a_leased_input_is_read_anew_in_every_run() -> None:
    geometry = ConvolutionGeometry((1, 16, 6, 6), 16, (3, 3), (1, 1), (1, 1), (1, 1))
    op, x = OneDnnOps().convolution(geometry), Value(geometry.shape)
    w, y = value_of(numbers(geometry.weight_shape, 0)), Value(geometry.out_shape)
    lease, result = x.lease(), y.lease()
    lease[...] = numbers(geometry.shape, 1)
    op.forward(x, w, None, out=y)
    first = result.copy()
    lease *= 2
    op.forward(x, w, None, out=y)
    np.testing.assert_allclose(result, 2 * first, rtol=1e-5, atol=1e-5)


def test_numpy_takes_what_the_library_does_not_compute_alike() -> None:
    ops = OneDnnOps()
    flat = ConvolutionGeometry((2, 3), 4, (), (), (), ())
    assert type(ops.convolution(flat)) is Convolution
    outside = PoolingGeometry((1, 1, 5, 5), "MAX", (2, 2), (6, 6), (0, 0))
    assert outside.out_size == (2, 2)
    assert type(ops.pooling(outside)) is Pooling


@pytest.mark.parametrize("blocked", [False, True])
def test_means_of_windows_that_reach_beyond_the_padding_are_caffes(blocked: bool) -> None:
    # Windows at the right edge hold 2 of 3 columns of the padded image: the library counts 3.
    geometry = PoolingGeometry((2, 20, 6, 6), "AVE", (3, 3), (2, 2), (1, 1))
    assert geometry.out_size == (4, 4)
    x = numbers(geometry.shape, 0)

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        _, dy = values
        op = ops.pooling(geometry)
        assert type(op) is (OneDnnPooling if isinstance(ops, OneDnnOps) else Pooling)
        source = blocked_value(x) if blocked and isinstance(ops, OneDnnOps) else values[0]
        y, dx = Value(geometry.out_shape), Value(geometry.shape)
        for _ in range(2):
            op.forward(source, out=y)
            op.backward(dy, source, out=dx)
        return [y, dx]

    compare(run, [x, numbers(geometry.out_shape, 1)])


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_pooling_of_nan_and_infinity_equals_numpy(method: str) -> None:
    geometry = PoolingGeometry((1, 17, 5, 5), method, (2, 2), (2, 2), (0, 0))
    x = numbers(geometry.shape, 0)
    x[:, :5] = [[[[np.nan]], [[-np.inf]], [[np.inf]], [[-3.4e38]], [[1e-42]]]]
    x[:, 5:12, ::2, 1] = np.reshape([np.nan, -np.inf, np.inf, 3.4e38, -3.4e38, 0, 1e-42], (7, 1))
    for source in (value_of(x), blocked_value_of_any(x)):
        found, expected = Value(geometry.out_shape), Value(geometry.out_shape)
        OneDnnOps().pooling(geometry).forward(source, out=found)
        NumpyOps().pooling(geometry).forward(value_of(x), out=expected)
        np.testing.assert_allclose(found.read(), expected.read(), rtol=1e-6, atol=0)


def blocked_value_of_any(array: np.ndarray) -> Value:
    """Any content in the layout of `blocked_value`; a convolution would spread nan."""
    value = blocked_value(np.zeros_like(array))
    layout = value.fresh_layout
    value.write()[...] = array
    value.modify(layout)
    assert value.fresh_layout is layout
    return value


@pytest.mark.parametrize(
    "geometry",
    [
        ConvolutionGeometry((2, 3, 9, 9), 16, (3, 3), (2, 2), (1, 1), (1, 1)),
        ConvolutionGeometry((2, 12, 9, 9), 12, (5, 5), (1, 1), (2, 2), (1, 1), 12),
        ConvolutionGeometry((2, 8, 9, 9), 16, (3, 3), (1, 1), (1, 1), (1, 1), 8),
    ],
    ids=["few channels", "depthwise 5x5", "two outputs a channel"],
)
def test_convolutions_of_few_channels_equal_numpy(geometry: ConvolutionGeometry) -> None:
    shapes = (geometry.shape, geometry.weight_shape, (geometry.num_output,), geometry.out_shape)
    for bias in (False, True):
        compare(
            weighted(lambda ops: ops.convolution(geometry), geometry.weight_shape, bias),
            [numbers(shape, seed) for seed, shape in enumerate(shapes)],
        )


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.usefixtures("wide_vectors")
def test_gradients_of_strided_convolutions_keep_the_layout_of_the_forward_pass(
    kernel: int,
) -> None:
    geometry = ConvolutionGeometry(
        (2, 32, 8, 8), 48, (kernel,) * 2, (2, 2), (kernel // 2,) * 2, (1, 1)
    )
    op, x = OneDnnOps().convolution(geometry), blocked_value(numbers(geometry.shape, 0))
    w, y = value_of(numbers(geometry.weight_shape, 1)), Value(geometry.out_shape)
    dx, dw = Value(geometry.shape), Value(geometry.weight_shape)
    op.forward(x, w, None, out=y)
    op.backward_data(y, w, out=dx)
    op.backward_params(y, x, add_w=dw)
    assert dx.fresh_layout is x.fresh_layout
    assert len(y._storage.copies) == len(x._storage.copies) == 1  # no reorders


@pytest.mark.usefixtures("wide_vectors")
def test_channels_that_fill_no_blocks_are_convolved_without_padding() -> None:
    ops = OneDnnOps()
    geometry = ConvolutionGeometry((2, 20, 6, 6), 50, (3, 3), (1, 1), (0, 0), (1, 1))
    x = value_of(numbers(geometry.shape, 0))
    w = value_of(numbers(geometry.weight_shape, 1))
    y, dx = Value(geometry.out_shape), Value(geometry.shape)
    op = ops.convolution(geometry)
    op.forward(x, w, None, out=y)
    op.backward_data(y, w, out=dx)
    for value in (y, dx):
        assert value.fresh_layout == layout_of(channels_last(value.shape))


def test_weights_are_not_kept_in_plain_memory_too() -> None:
    geometry = InnerProductGeometry(64, 300, 200)
    content = numbers(geometry.weight_shape, 0)
    w, y = value_of(content), Value((64, 200))
    OneDnnOps().inner_product(geometry).forward(value_of(numbers((64, 300), 1)), w, None, out=y)
    assert w.home is not PLAIN
    assert w._storage.plain is None
    np.testing.assert_array_equal(w.content(), content)
    assert w._storage.plain is None
    np.testing.assert_array_equal(w.read(), content)


def test_primitives_made_in_one_thread_run_in_another() -> None:
    geometry = ConvolutionGeometry((2, 19, 9, 9), 21, (3, 3), (1, 1), (1, 1), (2, 2))
    x, w, b, dy = (
        value_of(numbers(shape, seed))
        for seed, shape in enumerate(
            (geometry.shape, geometry.weight_shape, (21,), geometry.out_shape)
        )
    )
    run = weighted(lambda ops: op, geometry.weight_shape, True)
    op = OneDnnOps().convolution(geometry)
    here = [value.read() for value in run(op.ops, [x, w, b, dy])]
    there: list[np.ndarray] = []
    thread = threading.Thread(
        target=lambda: there.extend(value.read() for value in run(op.ops, [x, w, b, dy]))
    )
    thread.start()
    thread.join()
    for ours, theirs in zip(here, there, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)
