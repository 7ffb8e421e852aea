"""Functions of one value and dropout on oneDNN, in the layouts they find, against numpy in
float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from caffepy.engine.core.random import PAGE, Counter, Stream
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.numpy.prelu import PRelu
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.dropout import WORDS
from caffepy.engine.ops.onednn.flat import has_padding
from caffepy.engine.ops.onednn.library import available
from tests.engine.test_onednn_layout import blocked
from tests.onednn_values import (
    Run,
    assert_padding_is_zero,
    compare,
    compare_special,
    layout_names,
    numbers,
    results,
    shapes,
    value_of,
)

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

EXAMPLES = settings(max_examples=20, deadline=None)
SHAPE = (2, 20, 5, 7)  # 20 channels: blocks of 8 and of 16 need padding
SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-40, -1e-40, 0, -0.0, 1, -1, 100, -100], np.float32
)

OF_INPUT: dict[str, Callable[[Ops], Any]] = {
    "relu with negative slope": lambda ops: ops.relu(-0.5),
    "swish": lambda ops: ops.swish(1.0),
    "swish with beta": lambda ops: ops.swish(1.7),
    "mish": lambda ops: ops.mish(),
    "elu": lambda ops: ops.elu(0.8),
    "bnll": lambda ops: ops.bnll(),
    "linear": lambda ops: ops.power(1.0, 2.0, -1.0),
    "times": lambda ops: ops.power(1.0, -0.3, 0.0),
    "square": lambda ops: ops.power(2.0, 1.0, 0.0),
    "cube": lambda ops: ops.power(3.0, 0.5, 1.0),
    "constant": lambda ops: ops.power(0.0, 1.0, 1.0),
    "constant without scale": lambda ops: ops.power(2.0, 0.0, 3.0),
    "clip": lambda ops: ops.clip(-0.5, 0.7),
    "clip above 0": lambda ops: ops.clip(0.2, 0.7),
}
POSITIVE: dict[str, Callable[[Ops], Any]] = {
    "log": lambda ops: ops.log(2.0, 1.5, 0.1),
    "root": lambda ops: ops.power(0.5, 1.0, 0.0),
    "reciprocal": lambda ops: ops.power(-1.0, 2.0, 0.0),
    "power": lambda ops: ops.power(1.3, 1.0, 0.25),
}
OF_OUTPUT: dict[str, Callable[[Ops], Any]] = {
    "tanh": lambda ops: ops.tanh(),
    "sigmoid": lambda ops: ops.sigmoid(),
    "exp": lambda ops: ops.exp(2.0, 0.5, 0.1),
    "relu6": lambda ops: ops.relu6(0.2),
}
ALL = OF_INPUT | POSITIVE | OF_OUTPUT
KEEPS_ZERO = {
    "relu with negative slope", "swish", "swish with beta", "elu", "times", "square", "clip",
    "tanh", "mish", "relu6",
}  # fmt: skip


def both_passes(name: str, in_place: bool) -> Run:
    """y and the gradient of x; twice, since the second time finds its primitives made."""

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy = values
        op = ALL[name](ops)
        found = []
        for _ in range(1 if in_place else 2):
            y, dx = (
                (x, dy)
                if in_place
                else (
                    Value(x.shape, ops.dtype),
                    Value(x.shape, ops.dtype),
                )
            )
            op.forward(x, out=y)
            op.backward(dy, y if name in OF_OUTPUT else x, out=dx)
            found += [y, dx]
        return found

    return run


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=6, deadline=None)
@given(shape=shapes, layout=layout_names, in_place=st.booleans())
def test_functions_of_one_value_equal_numpy_in_any_layout(
    name: str, shape: tuple[int, ...], layout: str, in_place: bool
) -> None:
    x, dy = numbers(shape), numbers(shape, 1)
    if name in POSITIVE:
        x = np.abs(x) + np.float32(0.1)
    compare(both_passes(name, in_place), [x, dy], layout)


@pytest.mark.parametrize("layout", ["plain", "convolution"])
@pytest.mark.parametrize("name", [*ALL, "absolute"])
def test_nan_infinity_and_extremes_come_out_as_on_numpy(name: str, layout: str) -> None:
    x, dy = (array.ravel() for array in np.meshgrid(SPECIAL, SPECIAL[-6:]))
    shape = (1, 26, 1, 3)
    inputs = [x.reshape(shape), dy.reshape(shape)]
    run = (
        absolute if name == "absolute"
        else (lambda ops, values: both_passes(name, False)(ops, values)[:2])
    )  # fmt: skip
    ours, theirs = (
        results(run, ops, inputs, layout) for ops in (OneDnnOps(), NumpyOps())
    )  # fmt: skip
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-7)


def absolute(ops: Ops, values: list[Value]) -> list[Value]:
    x, dy = values
    y, dx = Value(x.shape, ops.dtype), Value(x.shape, ops.dtype)
    op = ops.absolute()
    op.forward(x, out=y)
    op.backward(dy, x, out=dx)
    return [y, dx]


@pytest.mark.parametrize("layout", ["plain", "convolution", "channels last"])
def test_the_absolute_value_equals_numpy(layout: str) -> None:
    x = numbers(SHAPE)
    x[0] = 0
    compare(absolute, [x, numbers(SHAPE, 1)], layout)


def with_room(array: np.ndarray) -> Value:
    """A value whose layout has memory that belongs to no element."""
    layout, value = blocked(array.shape), Value(array.shape)
    layout.load(array, value.write(layout))
    assert has_padding(layout)
    return value


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_memory_between_elements_stays_zero(name: str, in_place: bool) -> None:
    x, dy = np.abs(numbers(SHAPE)) + np.float32(0.1), numbers(SHAPE, 1)
    run, ops = both_passes(name, in_place), NumpyOps()
    found = run(OneDnnOps(), [with_room(x), with_room(dy)])
    expected = run(ops, [value_of(x, ops), value_of(dy, ops)])
    for ours, theirs in zip(found, expected, strict=True):
        assert_padding_is_zero(ours)
        np.testing.assert_allclose(ours.read(), theirs.read(), rtol=1e-5, atol=1e-6)


def test_functions_that_keep_zero_stay_in_a_layout_with_padding_and_others_leave_it() -> None:
    for name in ALL:
        x, y = with_room(numbers(SHAPE)), Value(SHAPE)
        ALL[name](OneDnnOps()).forward(x, out=y)
        assert (y.fresh_layout is x.fresh_layout) == (name in KEEPS_ZERO), name


def test_an_op_follows_its_input_into_another_layout() -> None:
    ops: Ops = OneDnnOps()
    x = numbers(SHAPE)
    for name in ("elu", "bnll", "tanh"):
        op = ALL[name](ops)
        for layout in ("plain", "convolution", "channels last", "plain"):
            found, expected = (
                both_passes_with(op if own is ops else ALL[name](own), own, layout, x)
                for own in (ops, NumpyOps(np.float64))
            )
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def both_passes_with(op: Any, ops: Ops, layout: str, x: np.ndarray) -> np.ndarray:
    """The gradient, in place."""
    value, dy = value_of(x, ops, layout), value_of(numbers(SHAPE, 1), ops)
    op.forward(value, out=value)
    op.backward(dy, value, out=dy)
    gradient: np.ndarray = dy.read()
    return gradient


def test_nothing_has_no_elements() -> None:
    ops: Ops = OneDnnOps()
    for make in ALL.values():
        op, x, y = make(ops), Value((0, 3)), Value((0, 3))
        x.write()
        op.forward(x, out=y)
        assert y.read().shape == (0, 3)


@EXAMPLES
@given(shape=shapes, layout=layout_names, in_place=st.booleans(), negative=st.booleans())
@example(shape=(1, 17, 1), layout="plain", in_place=True, negative=False)  # of one sample
def test_learnt_slopes_equal_numpy_in_any_layout(
    shape: tuple[int, ...], layout: str, in_place: bool, negative: bool
) -> None:
    geometry = AxisGeometry.around(shape, 1)

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy, a = values
        y, dx = (x, dy) if in_place else (Value(x.shape, ops.dtype), Value(x.shape, ops.dtype))
        da, op = Value(a.shape, ops.dtype), ops.prelu(geometry)
        op.forward(x, a, out=y)
        op.backward_params(dy, x, add_a=da)
        op.backward_data(dy, x, a, out=dx)
        return [y, dx, da]

    slopes = numbers(shape[1:2], 2) if negative else np.full(shape[1], 0.25, np.float32)
    compare(run, [numbers(shape), numbers(shape, 1), slopes], layout)


def test_learnt_slopes_keep_nan_and_infinity() -> None:
    shape = (1, 2, SPECIAL.size)
    x = np.stack([SPECIAL, SPECIAL])[None]

    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy, a = values
        y, da, op = Value(shape), Value((2,)), ops.prelu(AxisGeometry.around(shape, 1))
        op.forward(x, a, out=y)
        op.backward_params(dy, x, add_a=da)
        return [y, da]

    compare_special(run, [x, np.ones(shape, np.float32), np.array([0.25, -2], np.float32)], "plain")
    assert type(OneDnnOps().prelu(AxisGeometry.around(shape, 1, 0))) is PRelu


@EXAMPLES
@given(shape=shapes, layout=layout_names, in_place=st.booleans())
def test_dropout_has_the_masks_of_numpy_in_any_layout(
    shape: tuple[int, ...], layout: str, in_place: bool
) -> None:
    def run(ops: Ops, values: list[Value]) -> list[Value]:
        x, dy = values
        y, dx = (x, dy) if in_place else (Value(x.shape, ops.dtype), Value(x.shape, ops.dtype))
        op = ops.dropout(0.3, 1 / 0.7, Stream(1, "drop", "dropout"), Counter(5))
        op.forward(x, out=y)
        op.backward(dy, out=dx)
        return [y, dx]

    compare(run, [numbers(shape), numbers(shape, 1)], layout)


@pytest.mark.parametrize("count", [1, 2 * PAGE - 1, 2 * PAGE + 1, 2 * WORDS + 3, 5 * WORDS])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.999])
def test_masks_are_equal_over_pages_and_chunks(count: int, ratio: float) -> None:
    stream, ones = Stream(1, "drop", "dropout"), np.ones(count, np.float32)
    found = []
    for ops in (OneDnnOps(), NumpyOps()):
        value = value_of(ones, ops)
        ops.dropout(ratio, 2.0, stream, Counter(3)).forward(value, out=value)
        found.append(value.read())
    np.testing.assert_array_equal(*found)
