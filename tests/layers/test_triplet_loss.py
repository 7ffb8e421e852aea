"""TripletLoss."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import backends, close, seeds, weights
from tests.nets import make_net


@pytest.mark.parametrize("case", golden_cases("TripletLoss"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(margin: float, weight: float = 1) -> str:
    return f'type: "TripletLoss" loss_weight: {weight} triplet_loss_param {{ margin: {margin} }}'


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (3, 5, 1, 1)])
@pytest.mark.parametrize("margin", [-1, 0, 0.2, 3])
def test_gradient(margin: float, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    check_layer_gradient(layer(margin, 0.7), [random.standard_normal(shape) for _ in range(3)])


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(0, 4),
    features=st.integers(1, 4),
    margin=st.sampled_from([0, 0.5, 1, 3]),
    backend=backends,
    weight=weights,
    seed=seeds,
    wanted=st.sampled_from(list(itertools.product([True, False], repeat=3))),
)
def test_equals_a_loop_over_triplets(
    samples: int,
    features: int,
    margin: float,
    backend: type[NumpyOps],
    weight: float,
    seed: int,
    wanted: tuple[bool, bool, bool],
) -> None:
    random = np.random.default_rng(seed)
    bottoms = [random.standard_normal((samples, features)).astype(np.float32) for _ in range(3)]
    loss, gradients = 0.0, [np.zeros((samples, features)) for _ in range(3)]
    for row in range(samples):
        a, p, n = ([float(x) for x in bottom[row]] for bottom in bottoms)
        near = sum((x - y) ** 2 for x, y in zip(a, p, strict=True))
        far = sum((x - y) ** 2 for x, y in zip(a, n, strict=True))
        if margin + near - far > 0:
            loss += (margin + near - far) / (2 * samples)
            for gradient, plus, minus in zip(gradients, (n, p, a), (p, a, n), strict=True):
                gradient[row] = [(x - y) / samples for x, y in zip(plus, minus, strict=True)]
    run = make_layer(layer(margin, weight), bottoms, ops=backend(np.float32))
    close(run.forward()[0], loss, "loss")
    run.backward(list(wanted))
    for blob, gradient, want in zip(run.bottom, gradients, wanted, strict=True):
        close(blob.diff.read(), weight * gradient * want, blob.name)


def test_a_hand_written_case(ops: Ops) -> None:
    """The second row is far enough away, the third at the margin exactly."""
    a, p, n = [[0.0], [0], [0]], [[1.0], [1], [1]], [[1.0], [2], [np.sqrt(2)]]
    run = make_layer(layer(1), [a, p, n], ops=ops)
    np.testing.assert_allclose(run.forward()[0], 1 / 6, rtol=1e-6)
    run.backward()
    for blob, expected in zip(run.bottom, (0, 1 / 3, -1 / 3), strict=True):
        np.testing.assert_allclose(blob.diff.read()[:2], [[expected], [0]], rtol=1e-6)


def test_the_anchor_may_be_all_that_learns(ops: Ops) -> None:
    net = make_net(
        """layer { name: "in" type: "Input" top: "x" top: "p" top: "n"
          input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "a"
          inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "TripletLoss" bottom: "a" bottom: "p" bottom: "n" top: "loss" }
        """,
        ops,
    )
    for name, number in (("x", 1), ("p", 2), ("n", 3)):
        net.blobs[name].data.write()[...] = number
    net.forward_backward()
    moved = net.blobs["a"].diff.read()
    active = (
        1
        + np.square(net.blobs["a"].data.read() - [2]).sum(1)
        - np.square(net.blobs["a"].data.read() - [3]).sum(1)
        > 0
    )
    np.testing.assert_allclose(moved, np.repeat(active[:, None] * 0.5, 4, 1))


def test_all_three_get_a_gradient_where_it_is_forced() -> None:
    net = make_net(
        """force_backward: true
        layer { name: "in" type: "Input" top: "a" top: "p" top: "n"
          input_param { shape { dim: 2 dim: 4 } } }
        layer { name: "loss" type: "TripletLoss" bottom: "a" bottom: "p" bottom: "n" top: "loss" }
        """
    )
    for name, number in (("a", 1), ("p", 2), ("n", 2)):
        net.blobs[name].data.write()[...] = number
    net.forward_backward()
    found = [net.blobs[name].diff.read()[0, 0] for name in "apn"]
    np.testing.assert_allclose(found, [0, 0.5, -0.5])


def test_a_distance_that_is_not_finite_gives_no_gradient(ops: Ops) -> None:
    run = make_layer(layer(1), [[[np.nan], [0.0]], [[0.0], [1]], [[0.0], [1]]], ops=ops)
    assert np.isnan(run.forward()[0])


@pytest.mark.parametrize(
    "shapes", [[(2, 3), (2, 3), (2, 4)], [(2, 3), (3, 3), (2, 3)], [(2, 3, 2, 1)] * 3]
)
def test_features_of_other_shapes_are_refused(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ShapeError, match=r"'bottom_[12]'.*expected "):
        make_layer(layer(1), [np.ones(shape) for shape in shapes])


def test_two_bottoms_are_refused() -> None:
    with pytest.raises(NetError, match=r"expected 3 bottom blob\(s\), got 2"):
        make_layer(layer(1), [np.ones((2, 3))] * 2)
