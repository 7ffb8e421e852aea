"""CenterLoss."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.losses import backends, close, seeds, weights
from tests.nets import make_net


@pytest.mark.parametrize("case", golden_cases("CenterLoss"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(classes: int = 3, fields: str = "", weight: float = 1) -> str:
    return (
        f'type: "CenterLoss" loss_weight: {weight} center_loss_param {{ num_output: {classes} '
        f'center_filler {{ type: "gaussian" }} {fields} }}'
    )


@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (3, 2, 2, 3)])
def test_gradient_of_the_features(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    check_layer_gradient(
        layer(weight=0.7),
        [random.standard_normal(shape), random.integers(0, 3, shape[0])],
        bottoms=[0],
        check_parameters=False,  # theirs is no gradient, see the test below
    )


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(0, 6),
    features=st.integers(1, 4),
    classes=st.integers(1, 4),
    backend=backends,
    weight=weights,
    seed=seeds,
)
def test_equals_a_loop_over_samples(
    samples: int, features: int, classes: int, backend: type[NumpyOps], weight: float, seed: int
) -> None:
    """Labels are cut to integers."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((samples, features)).astype(np.float32)
    labels = random.integers(0, classes, samples)
    run = make_layer(layer(classes, weight=weight), [x, labels + 0.9], ops=backend(np.float32))
    centres = run.layer.blobs[0].data.read().astype(np.float64)
    loss, pulls, gradient = 0.0, np.zeros(centres.shape), np.zeros(x.shape)
    for row, label in enumerate(labels):
        far = x[row] - centres[label]
        loss += sum(far * far) / (2 * samples)
        gradient[row] = weight * far / samples
        pulls[label] -= far / (1 + list(labels).count(label))
    close(run.forward()[0], loss, "loss")
    run.backward([True, False])
    close(run.bottom[0].diff.read(), gradient, "gradient")
    close(run.layer.blobs[0].diff.read(), pulls, "of the centres")


def test_a_hand_written_case(ops: Ops) -> None:
    run = make_layer(layer(2), [[[1.0], [3], [5]], [0, 0, 1]], ops=ops)
    run.layer.blobs[0].data.write()[...] = [[0], [1]]
    assert run.forward()[0] == pytest.approx((1 + 9 + 16) / 6)
    run.backward([True, False])
    np.testing.assert_allclose(run.bottom[0].diff.read(), [[1 / 3], [1], [4 / 3]], rtol=1e-6)
    np.testing.assert_allclose(run.layer.blobs[0].diff.read(), [[-4 / 3], [-2]], rtol=1e-6)


def test_what_backward_gives_the_centres_is_added(ops: Ops) -> None:
    run = make_layer(layer(2), [[[1.0]], [1]], ops=ops)
    run.layer.blobs[0].data.write()[...] = 0
    run.forward()
    run.backward([False, False])
    run.layer.backward(run.top, [False, False], run.bottom)
    np.testing.assert_array_equal(run.layer.blobs[0].diff.read(), [[0], [-1]])


def test_centres_move_by_their_learning_rate_whatever_the_loss_weight() -> None:
    for weight in (1, 0.001):
        net = make_net(
            f"""layer {{ name: "in" type: "Input" top: "x" top: "y"
              input_param {{ shape {{ dim: 1 dim: 2 }} shape {{ dim: 1 }} }} }}
            layer {{ name: "centre" bottom: "x" bottom: "y" top: "loss" {layer(2, "", weight)} }}"""
        )
        net.blobs["x"].data.write()[...] = 4
        (centres,) = net.layers[-1].blobs
        centres.data.write()[...] = 0
        net.forward_backward()
        np.testing.assert_array_equal(centres.diff.read(), [[-2, -2], [0, 0]])


def test_a_layer_without_a_weight_warns_and_has_weight_0(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = 'type: "CenterLoss" center_loss_param { num_output: 2 }'
    with caplog.at_level(logging.WARNING, "caffepy"):
        run = make_layer(text, [np.ones((2, 3)), [0, 1]])
    assert "'layer' (CenterLoss): this loss has no loss_weight" in caplog.text
    assert run.layer.loss_weight(0) == 0


@pytest.mark.parametrize("label", [3, -1, np.nan])
def test_label_that_is_no_class_is_refused_with_its_sample(label: float, ops: Ops) -> None:
    run = make_layer(layer(), [np.ones((4, 3)), [0, 2, label, label]], ops=ops)
    with pytest.raises(
        LabelError,
        match=r"'layer' .*label of sample 2 of the batch: expected 0 to 2, got .*num_output",
    ):
        run.forward()


def test_several_labels_for_a_sample_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_1': expected one label per sample"):
        make_layer(layer(), [np.ones((2, 3)), np.ones((2, 2))])


@pytest.mark.parametrize("axis", [0, 2])
def test_an_axis_that_leaves_features_out_is_refused(axis: int) -> None:
    with pytest.raises(ShapeError, match=rf"center_loss_param.axis {axis}: expected 1"):
        make_layer(layer(fields=f"axis: {axis}"), [np.ones((2, 3, 2)), [0, 1]])


def test_the_number_of_features_stays() -> None:
    run = make_layer(layer(), [np.ones((2, 3)), [0, 1]])
    run.bottom[0].reshape((2, 4))
    with pytest.raises(ShapeError, match=r"expected 3 features of a sample.*got 4"):
        run.layer.reshape(run.bottom, run.top)


def test_a_missing_number_of_classes_is_refused() -> None:
    with pytest.raises(NetError, match=r"num_output: expected at least 1, got 0\. Set it"):
        make_layer('type: "CenterLoss" loss_weight: 1', [np.ones((2, 3)), [0, 1]])


@pytest.mark.parametrize(
    "field", ['distance_type: "L1"', "loss_weight: 0.1", "alpha: 0.5", "cluster_num: 2"]
)
def test_a_field_of_another_fork_is_refused(field: str) -> None:
    with pytest.raises(NetError, match="expected it to be left out or at its default"):
        make_layer(layer(fields=field), [np.ones((2, 3)), [0, 1]])


def test_labels_get_no_gradient() -> None:
    run = make_layer(layer(), [np.ones((2, 3)), [0, 1]])
    with pytest.raises(NetError, match="'bottom_1' needs a gradient, but labels have no gradient"):
        run.layer.backward(run.top, [True, True], run.bottom)
