"""Eltwise, sums and concatenation on oneDNN, in the layouts they find, against numpy in float64;
and what all elementwise ops allocate."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.layout import PLAIN
from caffepy.engine.core.random import Counter, Stream
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry, ConcatGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.numpy.eltwise import EltwiseSum
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.library import available
from tests.engine.test_onednn_elementwise import SPECIAL, with_room
from tests.onednn_values import (
    Run,
    assert_padding_is_zero,
    compare,
    compare_special,
    layout_named,
    layout_names,
    numbers,
    shapes,
    value_of,
)

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

EXAMPLES = settings(max_examples=20, deadline=None)
SHAPE = (2, 20, 5, 7)


def eltwise(name: str, count: int, wanted: Sequence[bool]) -> Run:
    """The result, and those gradients that are wanted; the last value is that of the result."""

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        *xs, dy = values
        y = Value(dy.shape, ops.dtype)
        outs = [Value(dy.shape, ops.dtype) if each else None for each in wanted]
        if name.startswith("sum"):
            coefficients = (1.0,) * count if name == "sum" else (0.5, -1.0, 1.0, 2.0)[:count]
            op = ops.eltwise_sum(coefficients)
            op.forward(xs, out=y)
            op.backward(dy, outs=outs)
        elif name == "max":
            largest = ops.eltwise_max()
            largest.forward(xs, out=y)
            largest.backward(dy, xs, outs=outs)
        else:
            product = ops.eltwise_product(stable=name == "product")
            product.forward(xs, out=y)
            product.backward(dy, xs, y, outs=outs)
        return [y, *(out for out in outs if out is not None)]

    return run


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("name", ["sum", "sum with coefficients", "product", "max"])
def test_combinations_keep_memory_between_elements_zero(name: str, count: int) -> None:
    arrays, ops = [numbers(SHAPE, seed) for seed in range(count + 1)], NumpyOps()
    run = eltwise(name, count, (True,) * count)
    found = run(OneDnnOps(), [with_room(array) for array in arrays])
    expected = run(ops, [value_of(array, ops) for array in arrays])
    for ours, theirs in zip(found, expected, strict=True):
        assert_padding_is_zero(ours)
        np.testing.assert_allclose(ours.read(), theirs.read(), rtol=1e-5, atol=1e-6)


ELTWISE = ["sum", "sum with coefficients", "product", "product by division", "max"]


@pytest.mark.parametrize("name", ELTWISE)
@settings(max_examples=10, deadline=None)
@given(
    shape=shapes, layout=layout_names, count=st.integers(2, 4),
    wanted=st.lists(st.booleans(), min_size=4, max_size=4),
)  # fmt: skip
def test_combinations_of_values_equal_numpy_in_any_layout(
    name: str, shape: tuple[int, ...], layout: str, count: int, wanted: list[bool]
) -> None:
    inputs = [numbers(shape, seed) for seed in range(count + 1)]
    for x in inputs[:-1]:
        x[np.abs(x) < 0.1] = 0.1
    compare(eltwise(name, count, wanted[:count]), inputs, layout)


@pytest.mark.parametrize("name", ELTWISE)
@pytest.mark.parametrize("layout", ["plain", "convolution"])
def test_combinations_of_nan_and_infinity_are_those_of_numpy(name: str, layout: str) -> None:
    pairs = np.meshgrid(SPECIAL, SPECIAL)
    shape = (1, SPECIAL.size, SPECIAL.size, 1)
    x0, x1 = (array.astype(np.float32).reshape(shape) for array in pairs)
    dy = np.full(shape, 2, np.float32)
    compare_special(eltwise(name, 2, (True, True)), [x0, x1, dy], layout)
    compare_special(eltwise(name, 3, (True,) * 3), [x0, x1, np.roll(x0, 1, 1), dy], layout)


@pytest.mark.parametrize("name", ELTWISE)
def test_nothing_combines_to_nothing(name: str) -> None:
    xs, empty = [Value((0, 3)), Value((0, 3))], Value((0, 3))
    found = eltwise(name, 2, (True, True))(OneDnnOps(), [*xs, empty])
    assert [value.read().shape for value in found] == [(0, 3)] * 3


@pytest.mark.parametrize("layout", ["plain", "convolution"])
def test_the_second_of_two_equal_maxima_takes_the_gradient(layout: str) -> None:
    ops: Ops = OneDnnOps()
    first, second = (value_of(np.ones(SHAPE, np.float32), ops, layout) for _ in range(2))
    outs = [Value(SHAPE), Value(SHAPE)]
    op = ops.eltwise_max()
    op.forward([first, second], out=Value(SHAPE))
    op.backward(value_of(numbers(SHAPE), ops, layout), [first, second], outs=outs)
    assert not outs[0].read().any()
    np.testing.assert_array_equal(outs[1].read(), numbers(SHAPE))


@pytest.mark.usefixtures("wide_vectors")
def test_the_sum_takes_the_layout_of_a_blocked_input_and_leaves_gradients_there() -> None:
    ops: Ops = OneDnnOps()
    plain, blocked = value_of(numbers(SHAPE), ops), value_of(numbers(SHAPE, 1), ops, "convolution")
    y, dx = Value(SHAPE), Value(SHAPE)
    op = ops.eltwise_sum((1.0, 1.0))
    op.forward([plain, blocked], out=y)
    op.backward(value_of(numbers(SHAPE, 2), ops), outs=[dx, None])
    assert y.fresh_layout is blocked.fresh_layout is dx.fresh_layout is not PLAIN
    np.testing.assert_array_equal(y.read(), numbers(SHAPE) + numbers(SHAPE, 1))
    np.testing.assert_array_equal(dx.read(), numbers(SHAPE, 2))


@pytest.mark.parametrize("coefficient", [1.0, -0.5])
def test_the_sum_of_one_value_is_a_copy(coefficient: float) -> None:
    x, y = value_of(numbers(SHAPE), OneDnnOps()), Value(SHAPE)
    ops: Ops = OneDnnOps()
    ops.eltwise_sum((coefficient,)).forward([x], out=y)
    np.testing.assert_array_equal(y.read(), np.float32(coefficient) * numbers(SHAPE))


def test_numpy_takes_coefficients_that_are_not_finite() -> None:
    assert type(OneDnnOps().eltwise_sum((1.0, np.inf))) is EltwiseSum


@EXAMPLES
@given(shape=shapes, layouts=st.lists(layout_names, min_size=1, max_size=4), in_place=st.booleans())
def test_a_sum_of_values_in_several_layouts_has_the_bits_of_numpy(
    shape: tuple[int, ...], layouts: list[str], in_place: bool
) -> None:
    ops: Ops = OneDnnOps()
    arrays = [numbers(shape, seed) for seed in range(len(layouts))]
    xs = [value_of(*each) for each in zip(arrays, [ops] * len(arrays), layouts, strict=True)]
    out = xs[0] if in_place else Value(shape)
    ops.sum().forward(xs, out=out)
    expected = list(itertools.accumulate(arrays))[-1]
    np.testing.assert_array_equal(out.read(), expected)


@EXAMPLES
@given(
    sizes=st.lists(st.sampled_from([1, 3, 16, 20, 32, 48]), min_size=2, max_size=4),
    axis=st.integers(0, 3), layout=layout_names, mixed=st.booleans(),
)  # fmt: skip
def test_parts_are_joined_and_the_whole_is_split_along_any_axis(
    sizes: list[int], axis: int, layout: str, mixed: bool
) -> None:
    ops: Ops = OneDnnOps()
    shape = [2, 16, 3, 4]
    part_shapes = tuple((*shape[:axis], size, *shape[axis + 1 :]) for size in sizes)
    geometry = ConcatGeometry(part_shapes, axis)
    arrays = [numbers(each, seed) for seed, each in enumerate(part_shapes)]
    whole = np.concatenate(arrays, axis)
    names = [layout, *["plain" if mixed else layout] * (len(sizes) - 1)]
    joined = Value(geometry.out_shape)
    diffs = [Value(each) for each in part_shapes]
    concat = ops.concat(geometry)
    xs = [value_of(*each) for each in zip(arrays, [ops] * len(arrays), names, strict=True)]
    for _ in range(2):
        concat.join(xs, out=joined)
        concat.split(value_of(2 * whole, ops), parts=[None, *diffs[1:]])
    np.testing.assert_array_equal(joined.read(), whole)
    for diff, array, x in list(zip(diffs, arrays, xs, strict=True))[1:]:
        np.testing.assert_array_equal(diff.read(), 2 * array)
        assert diff.fresh_layout is x.fresh_layout
    pieces, slicing = [Value(each) for each in part_shapes], ops.concat(geometry)
    slicing.split(value_of(whole, ops, layout), parts=pieces)
    for piece, array in zip(pieces, arrays, strict=True):
        np.testing.assert_array_equal(piece.read(), array)
    slicing.join([value_of(2 * array, ops) for array in arrays], out=joined)
    np.testing.assert_array_equal(joined.read(), 2 * whole)


def test_whole_blocks_are_joined_and_split_where_they_lie() -> None:
    ops: Ops = OneDnnOps()
    geometry = ConcatGeometry(((2, 32, 5, 7), (2, 16, 5, 7)), 1)
    parts = [
        value_of(numbers(shape, seed), ops, "convolution")
        for seed, shape in enumerate(geometry.shapes)
    ]
    whole, pieces = Value(geometry.out_shape), [Value(shape) for shape in geometry.shapes]
    ops.concat(geometry).join(parts, out=whole)
    assert whole.fresh_layout is layout_named("convolution", geometry.out_shape)
    ops.concat(geometry).split(whole, parts=pieces)
    for piece, part in zip(pieces, parts, strict=True):
        assert piece.fresh_layout is part.fresh_layout is not PLAIN
        assert not piece._storage.plain_is_fresh


def test_the_steady_state_allocates_nothing_large() -> None:
    ops: Ops = OneDnnOps()
    shape = (4, 32, 16, 16)
    geometry = ConcatGeometry((shape, shape), 1)
    values = [value_of(numbers(shape, seed), ops, "convolution") for seed in range(4)]
    whole, slopes, da = Value(geometry.out_shape), value_of(numbers((32,)), ops), Value((32,))
    each = [
        ops.tanh(), ops.sigmoid(), ops.swish(1.0), ops.elu(1.0), ops.power(2.0, 1.0, 0.0),
        ops.dropout(0.5, 2.0, Stream(1, "", ""), Counter()),
    ]  # fmt: skip
    total, product, largest = ops.eltwise_sum((1.0, 0.5)), ops.eltwise_product(), ops.eltwise_max()
    adding, concat, prelu = (
        ops.sum(),
        ops.concat(geometry),
        ops.prelu(AxisGeometry.around(shape, 1)),
    )

    def everything() -> None:
        x, y, dy, dx = values
        for op in each:
            op.forward(x, out=y)
            op.backward(*((dy,) if op is each[-1] else (dy, x)), out=dx)
        total.forward([x, dy], out=y)
        total.backward(dy, outs=[dx, None])
        product.forward([x, dy], out=y)
        product.backward(dy, [x, dy], y, outs=[dx, None])
        largest.forward([x, dy], out=y)
        largest.backward(dy, [x, dy], outs=[dx, None])
        adding.forward([x, dy], out=dx)
        concat.join([x, dy], out=whole)
        concat.split(whole, parts=[y, dx])
        prelu.forward(x, slopes, out=y)
        prelu.backward_params(dy, x, add_a=da)
        prelu.backward_data(dy, x, slopes, out=dx)

    for _ in range(3):
        everything()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        everything()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < 24 << 10  # all that lives at one time: small objects and a page
