"""LSTMUnit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("LSTMUnit"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


LAYER = 'type: "LSTMUnit" top: "c" top: "h"'


def bottoms(samples: int, size: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    cell, gates = (random.standard_normal((1, samples, width)) for width in (size, 4 * size))
    return [cell, gates, np.arange(samples).reshape(1, samples) % 2]


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(1, 4), size=st.integers(1, 4))
def test_gradient(samples: int, size: int) -> None:
    check_layer_gradient(LAYER, bottoms(samples, size), bottoms=[0, 1])


def test_a_sequence_that_begins_forgets_its_cell(ops: Ops) -> None:
    cell, gates, _ = bottoms(2, 3)
    run = make_layer(LAYER, [cell, gates, np.array([[0, 1]])], ops=ops)
    before = run.forward()
    run.bottom[0].data.write()[...] = cell + 1
    after = run.forward()
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old[0, 0], new[0, 0])
        assert (old[0, 1] != new[0, 1]).all()


def test_each_gradient_can_be_asked_for_alone(ops: Ops) -> None:
    run = make_layer(LAYER, bottoms(2, 3), ops=ops)
    run.forward()
    for blob in run.top:
        blob.diff.write()[...] = 1
    run.backward([True, True, False])
    both = [blob.diff.read().copy() for blob in run.bottom[:2]]
    for index, expected in enumerate(both):
        run.bottom[index].diff.write()[...] = 0
        run.backward([index == 0, index == 1, False])
        np.testing.assert_array_equal(run.bottom[index].diff.read(), expected)


def test_what_does_not_fit_is_refused() -> None:
    cell, gates, cont = bottoms(2, 3)
    for bad, message in (
        ([cell[0], gates, cont], r"'bottom_0': expected shape \(1, N, D\)"),
        ([cell, gates[:, :, 1:], cont], r"'bottom_1': expected shape \(1, 2, 12\)"),
        ([cell, gates, cont[0]], r"'bottom_2': expected shape \(1, 2\)"),
    ):
        with pytest.raises(ShapeError, match=message):
            make_layer(LAYER, bad)
    run = make_layer(LAYER, [cell, gates, cont])
    with pytest.raises(NetError, match="cont has no gradient"):
        run.layer.backward(run.top, [True, True, True], run.bottom)
