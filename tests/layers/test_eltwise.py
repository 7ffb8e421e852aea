"""Eltwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import LayerRun, check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("Eltwise"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@settings(max_examples=15, deadline=None)
@given(
    bottoms=st.integers(2, 4),
    param=st.sampled_from(
        [
            "",
            "coeff",
            "operation: PROD",
            "operation: PROD stable_prod_grad: false",
            "operation: MAX",
        ]
    ),
    asked=st.sets(st.integers(0, 3), min_size=1),
    shape=st.lists(st.integers(1, 3), max_size=6),
)
def test_gradient(bottoms: int, param: str, asked: set[int], shape: list[int]) -> None:
    if param == "coeff":
        param = " ".join(f"coeff: {place - 1.5}" for place in range(bottoms))
    random = np.random.default_rng(0)
    check_layer_gradient(
        f'type: "Eltwise" eltwise_param {{ {param} }}',
        [random.standard_normal(shape) for _ in range(bottoms)],
        bottoms=sorted(asked & set(range(bottoms))) or [0],
    )


def test_equal_maxima_send_the_gradient_to_the_second_bottom(ops: Ops) -> None:
    run = _run("operation: MAX", [1, 2, 3], [1, 1, 4], [1, 2, 4], ops=ops)
    np.testing.assert_array_equal(run.forward()[0], [1, 2, 4])
    run.top[0].diff.write()[...] = [5, 6, 7]
    run.backward()
    gradients = [blob.diff.read() for blob in run.bottom]
    np.testing.assert_array_equal(gradients, [[0, 6, 0], [5, 0, 7], [0, 0, 0]])


def test_the_maximum_passes_over_nan_unless_the_second_bottom_has_it(ops: Ops) -> None:
    nan = np.nan
    run = _run("operation: MAX", [nan, 1, 2, 5], [0, nan, 1, 4], [1, 2, nan, 7], ops=ops)
    np.testing.assert_array_equal(run.forward()[0], [1, nan, 2, 7])
    run = _run("operation: MAX", [1, 2], [3, 4], [nan, 7], ops=ops)
    np.testing.assert_array_equal(run.forward()[0], [3, 7])


def test_unstable_product_has_nan_gradients_at_zero(ops: Ops) -> None:
    run = _run("operation: PROD stable_prod_grad: false", [0, 2], [3, 4], ops=ops)
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff.read(), [np.nan, 4])
    np.testing.assert_array_equal(run.bottom[1].diff.read(), [0, 2])


def test_shapes_must_be_equal() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected the shape \(2,\) of 'bottom_0'"):
        _run("", [1, 2], [1, 2, 3])


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("coeff: 1", r"coeff: expected none or one per bottom \(2\), got 1"),
        ("operation: PROD coeff: 1 coeff: 2", "coeff: expected none with PROD, got 2"),
        ("operation: SORT", "operation: expected SUM, PROD or MAX, got SORT"),
    ],
)
def test_options_that_do_not_fit_are_refused(param: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        _run(param, [1, 2], [3, 4])


def test_cannot_work_in_place() -> None:
    with pytest.raises(NetError, match="it cannot work in place"):
        make_layer('type: "Eltwise" bottom: "x" bottom: "y" top: "x"', [np.ones(2)] * 2)


def _run(param: str, *bottoms: list[float], ops: Ops | None = None) -> LayerRun:
    return make_layer(f'type: "Eltwise" eltwise_param {{ {param} }}', bottoms, ops=ops)


def test_the_gradient_of_the_maximum_of_scalars_goes_to_the_largest(ops: Ops) -> None:
    run = make_layer(
        'type: "Eltwise" eltwise_param { operation: MAX }', [1.0, 2.0, 5.0, 4.0], ops=ops
    )
    assert run.forward()[0] == 5
    run.top[0].diff.write()[...] = 3
    run.backward()
    assert [float(blob.diff.read()) for blob in run.bottom] == [0, 0, 3, 0]
