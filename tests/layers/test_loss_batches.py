"""Losses and accuracies whose batches change in size, down to none, between the passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from caffepy.engine.ops.base import Ops
from tests.harness import LayerRun, make_layer

Bottoms = Callable[[np.random.Generator, int], list[np.ndarray]]
SIZES = (3, 0, 1, 5, 3)


def scores_and_labels(random: np.random.Generator, samples: int) -> list[np.ndarray]:
    return [random.standard_normal((samples, 4)), random.integers(0, 4, samples)]


def images_and_labels(random: np.random.Generator, samples: int) -> list[np.ndarray]:
    size = samples + 1
    labels = random.integers(0, 4, (samples, 1, size, 2))
    return [random.standard_normal((samples, 4, size, 2)), labels]


def probabilities_and_labels(random: np.random.Generator, samples: int) -> list[np.ndarray]:
    return [random.random((samples, 4)) + 0.1, random.integers(0, 4, samples)]


def two_of_a_shape(random: np.random.Generator, samples: int) -> list[np.ndarray]:
    return list(random.random((2, samples, 4, samples + 1)))


def scores(random: np.random.Generator, samples: int) -> list[np.ndarray]:
    return [random.random((samples, 4, samples + 1))]


def pairs(random: np.random.Generator, samples: int) -> list[np.ndarray]:
    return [*random.random((2, samples, 4)), random.integers(0, 2, samples)]


def with_matrix(random: np.random.Generator, samples: int) -> list[np.ndarray]:
    return [*images_and_labels(random, samples), random.random((4, 4))]


LAYERS = [
    ('type: "SoftmaxWithLoss"', images_and_labels, (0,)),
    ('type: "InfogainLoss" top: "l" top: "p" loss_weight: 1 loss_weight: 0', with_matrix, (0,)),
    ('type: "SigmoidCrossEntropyLoss"', two_of_a_shape, (0,)),
    ('type: "SoftmaxCrossEntropyLoss"', two_of_a_shape, (0,)),
    ('type: "EuclideanLoss"', two_of_a_shape, (0, 1)),
    ('type: "HingeLoss"', scores_and_labels, (0,)),
    ('type: "MultinomialLogisticLoss"', probabilities_and_labels, (0,)),
    ('type: "ContrastiveLoss"', pairs, (0, 1)),
    ('type: "Accuracy" top: "all" top: "each"', images_and_labels, ()),
    ('type: "ContrastiveAccuracy"', pairs, ()),
    ('type: "ArgMax" argmax_param { top_k: 2 axis: 1 out_max_val: true }', scores, ()),
]


def results(run: LayerRun, wanted: tuple[int, ...]) -> list[np.ndarray]:
    """Copies of the tops, and of the gradients of the bottoms in `wanted`."""
    tops = run.forward()
    if wanted:
        run.backward([index in wanted for index in range(len(run.bottom))])
    return tops + [run.bottom[index].diff.read().copy() for index in wanted]


@pytest.mark.parametrize(
    ("param", "bottoms", "wanted"), LAYERS, ids=[param.split('"')[1] for param, *_ in LAYERS]
)
def test_every_batch_gives_what_it_gives_a_new_layer(
    param: str, bottoms: Bottoms, wanted: tuple[int, ...], ops: Ops
) -> None:
    random = np.random.default_rng(0)
    batches = [bottoms(random, samples) for samples in SIZES]
    run = make_layer(param, batches[0], ops=ops)
    for batch in batches:
        for blob, array in zip(run.bottom, batch, strict=True):
            blob.reshape(array.shape)
            blob.data.write()[...] = array
        found = results(run, wanted)
        expected = results(make_layer(param, batch, ops=ops), wanted)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
            assert np.isfinite(one).all()
