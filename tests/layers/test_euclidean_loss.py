"""EuclideanLoss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("EuclideanLoss"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("shapes", [[(3, 4), (3, 4)], [(2, 6), (2, 3, 2)], [(5,), (5, 1)]])
@pytest.mark.parametrize("bottoms", [[0, 1], [1]])
def test_gradient(shapes: list[tuple[int, ...]], bottoms: list[int]) -> None:
    random = np.random.default_rng(0)
    check_layer_gradient(
        'type: "EuclideanLoss" loss_weight: 0.3',
        [random.standard_normal(shape) for shape in shapes],
        bottoms=bottoms,
    )


def test_no_samples_have_no_loss(ops: Ops) -> None:
    run = make_layer('type: "EuclideanLoss"', [np.ones((0, 3))] * 2, ops=ops)
    assert run.forward()[0] == 0
    run.backward()


def test_force_backward_reaches_both_bottoms() -> None:
    layer = make_layer('type: "EuclideanLoss"', [np.ones((2, 3))] * 2).layer
    assert layer.allow_force_backward(0)
    assert layer.allow_force_backward(1)


def test_bottoms_of_different_size_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected as many elements as 'bottom_0'"):
        make_layer('type: "EuclideanLoss"', [np.ones((2, 3)), np.ones((2, 4))])
