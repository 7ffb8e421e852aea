"""ContrastiveAccuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("ContrastiveAccuracy"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize(
    ("distance", "sim", "right"),
    [(0.5, 1, 1), (0.5, 0, 0), (1.0, 1, 0), (1.0, 0, 1), (0.5, 1.5, 0), (1.0, 2, 1)],
)
def test_a_pair_is_right_when_near_and_alike_or_neither(
    distance: float, sim: float, right: int, ops: Ops
) -> None:
    pair = [np.array([[0.0, 3.0]]), np.array([[distance, 3.0]])]
    run = make_layer('type: "ContrastiveAccuracy"', [*pair, np.array([sim])], ops=ops)
    assert run.forward()[0] == right


def test_features_may_have_axes_of_one_behind_them_as_in_contrastive_loss(ops: Ops) -> None:
    near, far = np.zeros((2, 3, 1, 1)), np.zeros((2, 3, 1, 1))
    far[1] = 1
    run = make_layer('type: "ContrastiveAccuracy"', [near, far, np.array([1, 1])], ops=ops)
    assert run.forward()[0] == 0.5


def test_no_pairs_have_accuracy_0(ops: Ops) -> None:
    bottoms = [np.ones((0, 3)), np.ones((0, 3)), np.ones(0)]
    assert make_layer('type: "ContrastiveAccuracy"', bottoms, ops=ops).forward()[0] == 0


def test_the_margin_is_read_from_the_prototxt(ops: Ops) -> None:
    pair = [np.array([[0.0]]), np.array([[1.5]])]
    for margin, right in ((1.0, 0), (2.0, 1)):
        param = f'type: "ContrastiveAccuracy" contrastive_accuracy_param {{ margin: {margin} }}'
        assert make_layer(param, [*pair, np.array([1])], ops=ops).forward()[0] == right


def test_bottoms_that_do_not_fit_are_refused() -> None:
    features = np.ones((5, 3))
    for other in (np.ones((5, 4)), np.ones((4, 3)), np.ones((5, 3, 2))):
        with pytest.raises(ShapeError, match=r"expected one shape \(N, C\) for both"):
            make_layer('type: "ContrastiveAccuracy"', [features, other, np.ones(5)])
    with pytest.raises(ShapeError, match=r"expected one shape \(N, C\) for both"):
        make_layer('type: "ContrastiveAccuracy"', [np.ones((5, 3, 2, 1))] * 2 + [np.ones(5)])
    with pytest.raises(ShapeError, match=r"'bottom_2': expected one label per pair"):
        make_layer('type: "ContrastiveAccuracy"', [features, features, np.ones(4)])


def test_there_is_no_gradient() -> None:
    run = make_layer('type: "ContrastiveAccuracy"', [np.ones((2, 3))] * 2 + [np.ones(2)])
    run.forward()
    with pytest.raises(NetError, match="bottom 'bottom_0' needs a gradient"):
        run.backward([True, False, False])
    run.backward([False, False, False])
