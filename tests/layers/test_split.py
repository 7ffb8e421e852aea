"""Split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

THREE = 'type: "Split" top: "a" top: "b" top: "c"'


@pytest.mark.parametrize("case", golden_cases("Split"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("param", [THREE, 'type: "Split" top: "a"'])
def test_gradient(param: str) -> None:
    check_layer_gradient(param, [np.random.default_rng(0).standard_normal((2, 3))])


def test_tops_share_data_but_not_gradients() -> None:
    run = make_layer(THREE, [np.ones((2, 3))])
    for blob in run.top:
        assert blob.data.shares_memory_with(run.bottom[0].data)
        assert not blob.diff.shares_memory_with(run.bottom[0].diff)


def test_top_without_a_gradient_counts_as_zero(ops: Ops) -> None:
    run = make_layer(THREE, [np.ones((2, 3))], ops=ops)
    run.forward()
    run.top[1].diff.write()[...] = 2
    run.layer.backward(run.top, [True], run.bottom)
    np.testing.assert_array_equal(run.bottom[0].diff.read(), np.full((2, 3), 2))


def test_tops_follow_a_bottom_that_takes_other_memory() -> None:
    run = make_layer(THREE, [np.ones((2, 3))])
    other = make_layer(THREE, [np.full((2, 3), 5)])
    run.bottom[0].data.alias(other.bottom[0].data)
    run.layer.reshape(run.bottom, run.top)
    np.testing.assert_array_equal(run.top[2].data.read(), np.full((2, 3), 5))


def test_cannot_work_in_place() -> None:
    with pytest.raises(NetError, match="it cannot work in place"):
        make_layer('type: "Split" bottom: "x" top: "x" top: "y"', [np.ones(2)])
