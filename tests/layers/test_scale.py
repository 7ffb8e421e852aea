"""Scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

FILLERS = 'filler { type: "gaussian" } bias_filler { type: "gaussian" }'


def layer(fields: str = "", names: str = "") -> str:
    return f'type: "Scale" {names} scale_param {{ {fields} }}'


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape)


@pytest.mark.parametrize("case", golden_cases("Scale"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    axis=st.integers(-4, 3),
    num_axes=st.integers(-1, 4),
    bias=st.booleans(),
    names=st.sampled_from(["", 'bottom: "x" top: "x"']),
)
def test_gradient(shape: list[int], axis: int, num_axes: int, bias: bool, names: str) -> None:
    axis = max(-len(shape), min(axis, len(shape) - 1))
    num_axes = min(num_axes, len(shape) - axis % len(shape))
    check_layer_gradient(
        layer(f"axis: {axis} num_axes: {num_axes} bias_term: {str(bias).lower()} {FILLERS}", names),
        [values(*shape)],
    )


@pytest.mark.parametrize("names", ["", 'bottom: "x" bottom: "s" top: "x"'])
@pytest.mark.parametrize("bias", ["false", "true"])
@pytest.mark.parametrize(("axis", "shape"), [(0, (2, 3)), (-1, (2,)), (1, (3, 2)), (1, ())])
def test_gradient_of_two_bottoms(axis: int, shape: tuple[int, ...], bias: str, names: str) -> None:
    param = layer(f"axis: {axis} bias_term: {bias} {FILLERS}", names)
    check_layer_gradient(param, [values(2, 3, 2), values(*shape)])


def test_it_starts_as_the_identity(ops: Ops) -> None:
    x = np.arange(6).reshape(2, 3)
    (top,) = make_layer(layer("bias_term: true"), [x], ops=ops).forward()
    np.testing.assert_array_equal(top, x)


def test_a_frozen_factor_gets_no_gradient(ops: Ops) -> None:
    run = make_layer(layer("bias_term: true"), [values(2, 3)], ops=ops)
    run.forward()
    run.layer.param_propagate_down = [False, True]
    run.top[0].diff.write()[...] = 1
    run.backward()
    assert not run.layer.blobs[0].diff.read().any()
    assert (run.layer.blobs[1].diff.read() == 2).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("axis: 3", "axis 3 does not exist in 'bottom_0'"),
        ("axis: 1 num_axes: 3", r"num_axes: expected -1 to 2, the axes of 'bottom_0' \(2, 3, 4\)"),
        ("num_axes: -2", "num_axes: expected -1 to 2, .* got -2"),
        ("max_value: 3", "max_value: expected it to be left out"),
    ],
)
def test_bad_fields_are_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'layer' \(Scale\).*{message}"):
        make_layer(layer(fields), [np.ones((2, 3, 4))])


def test_a_factor_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_0': expected the sizes \(2,\) from axis 1 on"):
        make_layer(layer(), [np.ones((2, 3, 4)), np.ones(2)])


def test_a_factor_that_outgrows_the_bias_is_refused() -> None:
    run = make_layer(layer("axis: 0 bias_term: true"), [np.ones((2, 3)), np.ones(2)])
    run.bottom[0].reshape((4, 3))
    run.bottom[1].reshape((4,))
    with pytest.raises(ShapeError, match=r"expected shape \(2,\), as when the bias was made"):
        run.layer.reshape(run.bottom, run.top)
