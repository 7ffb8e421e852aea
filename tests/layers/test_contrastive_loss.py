"""ContrastiveLoss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

LABELS = np.array([1, 0, 0, 2, 0])


@pytest.mark.parametrize("case", golden_cases("ContrastiveLoss"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 1, 1), (5,)])
@pytest.mark.parametrize(("legacy", "margin"), [("false", 2000.0), ("true", 3e6)])
def test_gradient(shape: tuple[int, ...], legacy: str, margin: float) -> None:
    """Distances are long, so that the constant beside them does not count."""
    random = np.random.default_rng(0)
    pairs = [500 * random.standard_normal(shape) for _ in range(2)]
    check_layer_gradient(
        f"""type: "ContrastiveLoss" loss_weight: 1e-3
        contrastive_loss_param {{ margin: {margin} legacy_version: {legacy} }}""",
        [*pairs, LABELS],
        bottoms=[0, 1],
    )


def test_an_unlike_pair_at_distance_0_has_a_finite_gradient(ops: Ops) -> None:
    run = make_layer('type: "ContrastiveLoss"', [np.ones((1, 2)), np.ones((1, 2)), [0]], ops=ops)
    assert run.forward()[0] == pytest.approx(0.5)  # margin^2 / 2
    run.backward([True, True, False])
    np.testing.assert_array_equal(run.bottom[0].diff.read(), 0)


def test_bottoms_that_do_not_fit_are_refused() -> None:
    features = np.ones((5, 3))
    with pytest.raises(ShapeError, match=r"expected one shape \(N, C\) for both"):
        make_layer('type: "ContrastiveLoss"', [features, np.ones((5, 4)), LABELS])
    with pytest.raises(ShapeError, match=r"expected one shape \(N, C\) for both"):
        make_layer('type: "ContrastiveLoss"', [np.ones((5, 3, 2, 1))] * 2 + [LABELS])
    with pytest.raises(ShapeError, match=r"'bottom_2': expected one label per pair"):
        make_layer('type: "ContrastiveLoss"', [features, features, LABELS[:4]])


def test_labels_get_no_gradient() -> None:
    run = make_layer('type: "ContrastiveLoss"', [np.ones((5, 3)), np.ones((5, 3)), LABELS])
    run.forward()
    with pytest.raises(NetError, match="labels have no gradient"):
        run.backward([True, True, True])
