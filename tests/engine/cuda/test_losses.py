"""Losses and accuracies on the GPU engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.loss_sums import PART
from caffepy.engine.ops.cuda.port import CudaRuntime
from tests import host_runtime
from tests.cuda_parity import check_parity
from tests.harness import make_layer
from tests.host_runtime import HostRuntime

MODES = ("FULL", "VALID", "BATCH_SIZE", "NONE")
MANY = PART + 131  # elements that more than one block of threads adds up
Shape = tuple[int, ...]


def labels(shape: Shape, classes: int, ignored: int | None = None) -> np.ndarray:
    """Class numbers with fractions, which are cut off; a third of them is `ignored`."""
    random = np.random.default_rng(1)
    found = random.integers(0, classes, shape) + 0.9 * random.random(shape)
    if ignored is not None:
        found[random.random(shape) < 0.3] = ignored
    return found


def scores(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("ignored", [None, 1, 255, -1])
@pytest.mark.parametrize("mode", MODES)
def test_softmax_loss_normalises_and_ignores(
    mode: str, ignored: int | None, cuda_runtime: CudaRuntime
) -> None:
    ignore = "" if ignored is None else f"ignore_label: {ignored}"
    text = f'type: "SoftmaxWithLoss" loss_param {{ normalization: {mode} {ignore} }}'
    bottoms = [scores(3, 5, 2, 7), labels((3, 2, 7), 5, ignored)]
    check_parity(cuda_runtime, text, bottoms, propagate_down=[True, False])


@pytest.mark.parametrize("ignore", ["", "loss_param { ignore_label: 0 }"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 37), (2, 131, 3), (MANY, 2), (3, 2, MANY)])
def test_softmax_loss_of_any_shape(shape: Shape, ignore: str, cuda_runtime: CudaRuntime) -> None:
    bottoms = [scores(*shape), labels((shape[0], *shape[2:]), shape[1])]
    text = f'type: "SoftmaxWithLoss" {ignore}'
    check_parity(cuda_runtime, text, bottoms, propagate_down=[True, False])


def test_softmax_loss_of_positions_that_are_all_ignored(cuda_runtime: CudaRuntime) -> None:
    text = 'type: "SoftmaxWithLoss" loss_param { ignore_label: 2 }'
    bottoms = [scores(3, 4), np.full(3, 2)]
    check_parity(cuda_runtime, text, bottoms, propagate_down=[True, False])


def test_softmax_loss_of_scores_that_are_not_finite(cuda_runtime: CudaRuntime) -> None:
    x = scores(5, 4)
    x[0, 1], x[1, 2], x[2, 3] = np.nan, np.inf, -np.inf
    for row in range(5):
        bottoms = [x[row : row + 1], np.array([3])]
        check_parity(cuda_runtime, 'type: "SoftmaxWithLoss"', bottoms, propagate_down=[True, False])


@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 2, 7), (MANY, 3)])
@pytest.mark.parametrize("ignored", [None, 2])
def test_infogain_loss(shape: Shape, ignored: int | None, cuda_runtime: CudaRuntime) -> None:
    ignore = "" if ignored is None else f"ignore_label: {ignored}"
    text = f'type: "InfogainLoss" loss_param {{ {ignore} }}'
    classes = shape[1]
    bottoms = [
        scores(*shape), labels((shape[0], *shape[2:]), classes, ignored), scores(classes, classes)
    ]  # fmt: skip
    check_parity(cuda_runtime, text, bottoms, propagate_down=[True, False, False])


@pytest.mark.parametrize("norm", ["L1", "L2"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (MANY // 2, 3)])
def test_hinge_loss(shape: Shape, norm: str, cuda_runtime: CudaRuntime) -> None:
    text = f'type: "HingeLoss" hinge_loss_param {{ norm: {norm} }}'
    x = scores(*shape)
    x[::5, 0], x[::7, -1] = -1, 1  # margins of exactly 0
    bottoms = [x, labels(shape[:1], shape[1])]
    check_parity(cuda_runtime, text, bottoms, propagate_down=[True, False])


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (MANY, 2)])
def test_multinomial_logistic_loss(shape: Shape, cuda_runtime: CudaRuntime) -> None:
    text = 'type: "MultinomialLogisticLoss"'
    bottoms = [np.maximum(scores(*shape), 0), labels(shape[:1], shape[1])]
    check_parity(cuda_runtime, text, bottoms, propagate_down=[True, False])


@pytest.mark.parametrize("ignored", [None, 0, -3])
@pytest.mark.parametrize("mode", MODES)
def test_sigmoid_loss_normalises_and_ignores(
    mode: str, ignored: int | None, cuda_runtime: CudaRuntime
) -> None:
    ignore = "" if ignored is None else f"ignore_label: {ignored}"
    text = f'type: "SigmoidCrossEntropyLoss" loss_param {{ normalization: {mode} {ignore} }}'
    bottoms = [scores(3, 7) * 20, labels((3, 7), 2, ignored)]
    check_parity(cuda_runtime, text, bottoms, propagate_down=[True, False])


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 800.0, -800.0])
def test_sigmoid_loss_of_extreme_scores(number: float, cuda_runtime: CudaRuntime) -> None:
    x = scores(1, 3)
    x[0, 1] = number
    text = 'type: "SigmoidCrossEntropyLoss"'
    check_parity(cuda_runtime, text, [x, np.ones((1, 3))], propagate_down=[True, False])


@pytest.mark.parametrize("kind", ["SigmoidCrossEntropyLoss", "SoftmaxCrossEntropyLoss"])
@pytest.mark.parametrize("shape", [(1, 1), (MANY, 3), (3, 37, 2)])
def test_losses_against_probabilities(kind: str, shape: Shape, cuda_runtime: CudaRuntime) -> None:
    targets = np.random.default_rng(2).random(shape) - 0.1
    bottoms = [scores(*shape), targets]
    check_parity(cuda_runtime, f'type: "{kind}"', bottoms, propagate_down=[True, False])


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5, 3), (3, MANY)])
def test_euclidean_loss(shape: Shape, wanted: tuple[bool, bool], cuda_runtime: CudaRuntime) -> None:
    bottoms = [scores(*shape), scores(*shape)[::-1]]
    check_parity(cuda_runtime, 'type: "EuclideanLoss"', bottoms, propagate_down=wanted)


@pytest.mark.parametrize("ignored", [None, 1, 255])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 2, 7), (MANY, 3)])
def test_focal_loss(
    shape: Shape, mode: str, ignored: int | None, cuda_runtime: CudaRuntime
) -> None:
    ignore = "" if ignored is None else f"ignore_label: {ignored}"
    text = f"""type: "FocalLoss" focal_loss_param {{ alpha: 0.75 gamma: 1.5 }}
      loss_param {{ normalization: {mode} {ignore} }}"""
    bottoms = [scores(*shape), labels((shape[0], *shape[2:]), shape[1], ignored)]
    check_parity(cuda_runtime, text, bottoms, propagate_down=[True, False])


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 800.0, -800.0])
@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_focal_loss_of_extreme_scores(
    gamma: float, number: float, cuda_runtime: CudaRuntime
) -> None:
    text = f'type: "FocalLoss" focal_loss_param {{ gamma: {gamma} }}'
    for label in (0, 1):
        x = scores(1, 3)
        x[0, 1] = number
        check_parity(cuda_runtime, text, [x, np.array([label])], propagate_down=[True, False])


@pytest.mark.parametrize("wanted", [(True, True, True), (True, False, False), (False, True, True)])
@pytest.mark.parametrize("shape", [(1, 1), (11, 131), (MANY, 2)])
def test_triplet_loss(
    shape: Shape, wanted: tuple[bool, bool, bool], cuda_runtime: CudaRuntime
) -> None:
    text = f'type: "TripletLoss" triplet_loss_param {{ margin: {shape[1] ** 0.5} }}'
    a, p, n = scores(3, *shape)
    p[::5], n[::7] = a[::5], p[::7]
    check_parity(cuda_runtime, text, [a, p, n], propagate_down=wanted)


@pytest.mark.parametrize("classes", [1, 3, 1000])
@pytest.mark.parametrize("shape", [(1, 1), (11, 131), (MANY, 2), (3, 2, 3, 1)])
def test_center_loss(shape: Shape, classes: int, cuda_runtime: CudaRuntime) -> None:
    text = f"""type: "CenterLoss" loss_weight: 0.5 center_loss_param {{
      num_output: {classes} center_filler {{ type: "gaussian" }} }}"""
    bottoms = [scores(*shape), labels(shape[:1], classes)]
    check_parity(cuda_runtime, text, bottoms, propagate_down=[True, False])


@pytest.mark.parametrize("weight", [0.5, 0])
def test_a_loss_scale_is_that_of_the_centers_too(weight: float, cuda_runtime: CudaRuntime) -> None:
    """Which the loss weight is not; updates divide by the scale."""
    text = f'type: "CenterLoss" loss_weight: {weight} center_loss_param {{ num_output: 3 }}'
    pulls = []
    for scale, precision in ((1, "fp32"), (1024, "fp16")):
        ops = CudaOps(cuda_runtime, precision=precision)
        run = make_layer(text, [scores(5, 4), labels((5,), 3)], ops=ops)
        run.top[0].diff.write()[...] = weight * scale
        run.forward()
        run.backward([False, False])
        pulls.append(run.layer.blobs[0].diff.read() / (scale if weight else 1))
    np.testing.assert_array_equal(*pulls)


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("legacy", ["false", "true"])
@pytest.mark.parametrize("shape", [(1, 1), (11, 131), (MANY, 2)])
def test_contrastive_loss(
    shape: Shape, legacy: str, wanted: tuple[bool, bool], cuda_runtime: CudaRuntime
) -> None:
    text = f"""type: "ContrastiveLoss" contrastive_loss_param {{
      margin: {1.5 * shape[1] ** 0.5} legacy_version: {legacy} }}"""
    a, b = scores(2, *shape)
    b[::5] = a[::5]  # pairs of distance 0
    similar = np.random.default_rng(3).choice([0, 0.5, 1, 2], shape[:1])
    check_parity(cuda_runtime, text, [a, b, similar], propagate_down=[*wanted, False])


@pytest.mark.parametrize("shape", [(1, 1), (11, 131), (MANY, 2)])
def test_contrastive_accuracy(shape: Shape, cuda_runtime: CudaRuntime) -> None:
    text = f"""type: "ContrastiveAccuracy" contrastive_accuracy_param {{
      margin: {1.4 * shape[1] ** 0.5} }}"""
    similar = np.random.default_rng(3).choice([0, 1, 2], shape[:1])
    check_parity(cuda_runtime, text, [*scores(2, *shape), similar], backward=False)


@pytest.mark.parametrize("ignored", [None, 1, 255])
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("shape", [(3, 2), (5, 7, 2, 3), (7, 131), (3, 4, 401), (MANY, 3)])
def test_accuracy(shape: Shape, top_k: int, ignored: int | None, cuda_runtime: CudaRuntime) -> None:
    ignore = "" if ignored is None else f"ignore_label: {ignored}"
    text = f"""type: "Accuracy" top: "all" top: "each"
      accuracy_param {{ top_k: {top_k} {ignore} }}"""
    x = np.trunc(scores(*shape) * 2)  # ties
    x[0, 0], x[-1, -1] = np.nan, -np.inf
    bottoms = [x, labels((shape[0], *shape[2:]), shape[1], ignored)]
    check_parity(cuda_runtime, text, bottoms, backward=False)


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "EuclideanLoss"])
def test_losses_have_equal_bits_on_any_grid(
    kind: str, host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = scores(MANY, 3)
    targets = labels((MANY,), 3, 2) if kind == "SoftmaxWithLoss" else scores(MANY, 3)[::-1]
    text = f'type: "{kind}" loss_param {{ ignore_label: 2 }}'
    found = []
    for blocks in (1, 7):
        monkeypatch.setattr(host_runtime, "BLOCKS", blocks)
        ops = CudaOps(HostRuntime(host_folder))
        found.append(make_layer(text, [x, targets], ops=ops).forward()[0])
    np.testing.assert_array_equal(*found)
