"""ContrastiveLoss."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import backends, check_loss, seeds, weights

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


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(0, 4),
    features=st.integers(1, 4),
    margin=st.sampled_from([0, 0.5, 1, 3]),
    legacy=st.booleans(),
    backend=backends,
    weight=weights,
    seed=seeds,
)
def test_equals_a_loop_over_pairs(
    samples: int,
    features: int,
    margin: float,
    legacy: bool,
    backend: type[NumpyOps],
    weight: float,
    seed: int,
) -> None:
    """Labels between -1 and 1 are cut to 0."""
    random = np.random.default_rng(seed)
    a, b = (random.standard_normal((samples, features)).astype(np.float32) for _ in range(2))
    label = random.choice([0, 1, 2, -1, 0.5], samples)
    loss, gradient = 0.0, np.zeros(a.shape)
    for sample in range(samples):
        difference = [float(x) - float(y) for x, y in zip(a[sample], b[sample], strict=True)]
        squared = sum(each * each for each in difference)
        distance, slope = math.sqrt(squared), 0.0
        if int(label[sample]):
            cost, slope = squared, 1
        elif legacy:
            cost, slope = max(margin - squared, 0), -float(squared < margin)
        else:
            gap = max(margin - distance, 0)
            cost, slope = gap**2, -gap / (distance + 1e-4)
        loss += cost / (2 * samples)
        gradient[sample] = [slope * each / samples for each in difference]
    check_loss(
        f"""type: "ContrastiveLoss"
        contrastive_loss_param {{ margin: {margin} legacy_version: {str(legacy).lower()} }}""",
        [a, b.reshape(samples, features, 1, 1), label.reshape(samples, 1)],
        backend(np.float32),
        (loss, gradient),
        weight,
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
