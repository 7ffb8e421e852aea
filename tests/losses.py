"""Losses and accuracies written once more, plainly: loops over positions in Python's floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import make_layer
from tests.padded_ops import PaddedOps

SMALLEST = float(np.finfo(np.float32).tiny)
MODES = ("FULL", "VALID", "BATCH_SIZE", "NONE")
RTOL, ATOL = 2e-4, 2e-6  # float32 against float64; ATOL is relative to the largest element

backends = st.sampled_from([NumpyOps, PaddedOps])
shapes = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)
weights = st.sampled_from([1, 0.75, -2, 0])  # floats that are exact in float32
seeds = st.integers(0, 2**32 - 1)

Loss = tuple[float, np.ndarray]  # and the gradient of the first bottom


@dataclass(frozen=True)
class Labelled:
    """Scores with a label per position, and what a `layer { }` block says of them."""

    scores: np.ndarray
    labels: np.ndarray
    axis: int
    ignore: int | None
    mode: str
    fields: str  # the inside of loss_param

    @property
    def rows(self) -> np.ndarray:
        """(positions, C) the scores."""
        moved = np.moveaxis(self.scores, self.axis, -1)
        return moved.reshape(-1, moved.shape[-1])

    def as_scores(self, rows: np.ndarray) -> np.ndarray:
        """(positions, C) elements in the places of the scores."""
        moved = np.moveaxis(self.scores, self.axis, -1)
        return np.moveaxis(rows.reshape(moved.shape), -1, self.axis)

    @property
    def classes(self) -> list[int | None]:
        """The label of each position, None where it is ignored."""
        numbers = [int(label) for label in self.labels.reshape(-1)]
        return [None if number == self.ignore else number for number in numbers]

    @property
    def divisor(self) -> int:
        shape, axis = self.scores.shape, self.axis % self.scores.ndim
        sizes = {
            "FULL": self.labels.size,
            "VALID": sum(label is not None for label in self.classes),
            "BATCH_SIZE": math.prod(shape[:axis]),
            "NONE": 1,
        }
        return max(1, sizes[self.mode])


@st.composite
def labelled(draw: st.DrawFn, *, first_axis: bool = True, old_form: bool = True) -> Labelled:
    """first_axis: the labels have as many samples as the scores.  old_form: `normalize` too."""
    shape = draw(shapes.filter(any))
    axis = draw(st.sampled_from([place for place, size in enumerate(shape) if size]))
    positions = shape[:axis] + shape[axis + 1 :]
    count = math.prod(positions)
    forms = {positions, (count,), (count, 1), (count, 1, 1, 1)}
    if first_axis:
        forms = {form for form in forms if form[:1] == shape[:1]}
        if not forms:
            return draw(labelled(first_axis=first_axis, old_form=old_form))
    random = np.random.default_rng(draw(seeds))
    scores = random.standard_normal(shape) * draw(st.sampled_from([1, 100, 1e4]))
    if draw(st.booleans()):
        scores = np.trunc(scores)  # ties
    ignore = draw(st.sampled_from([None, 0, 255, -1]))
    labels = random.integers(0, shape[axis], count) + 0.9 * random.random(count)
    if ignore is not None:
        labels[random.random(count) < draw(st.sampled_from([0.3, 1]))] = ignore
    mode = draw(st.sampled_from(MODES))
    fields = f"normalization: {mode}"
    if old_form and mode in ("VALID", "BATCH_SIZE") and draw(st.booleans()):
        fields = f"normalize: {str(mode == 'VALID').lower()}"
    if ignore is not None:
        fields += f" ignore_label: {ignore}"
    form = draw(st.sampled_from(sorted(forms)))
    if draw(st.booleans()):
        axis -= len(shape)
    return Labelled(
        scores.astype(np.float32),
        labels.reshape(form).astype(np.float32),
        axis,
        ignore,
        mode,
        fields,
    )


def softmax(row: Sequence[float]) -> list[float]:
    largest = max(row)
    powers = [math.exp(float(x) - float(largest)) for x in row]
    total = math.fsum(powers)
    return [power / total for power in powers]


def class_loss(
    case: Labelled, position: Callable[[list[float], int], tuple[float, list[float]]]
) -> Loss:
    """The mean over positions. position: loss and gradient of one, of its probabilities and its
    label."""
    loss, gradient = 0.0, np.zeros(case.rows.shape)
    for row, label, out in zip(case.rows, case.classes, gradient, strict=True):
        if label is not None:
            part, out[:] = position(softmax(row), label)
            loss += part
    return loss / case.divisor, case.as_scores(gradient / case.divisor)


def check_loss(
    param: str, bottoms: Sequence[np.ndarray], ops: Ops, expected: Loss, weight: float
) -> list[np.ndarray]:
    """Runs a loss forward and backward, recorded and replayed, against what is expected; the
    gradient of the first bottom alone. Returns the tops."""
    loss, gradient = expected
    run = make_layer(f"{param} loss_weight: {weight}", bottoms, ops=ops)
    tops = run.forward()
    close(tops[0], loss, "loss")
    run.backward([True] + [False] * (len(bottoms) - 1))
    close(run.bottom[0].diff.read(), weight * gradient, "gradient")
    return tops


def close(found: np.ndarray, expected: np.ndarray | float, what: str) -> None:
    """Equal within float32's precision."""
    expected = np.asarray(expected)
    assert found.shape == expected.shape, what
    largest = np.abs(expected).max(initial=1)
    np.testing.assert_allclose(found, expected, rtol=RTOL, atol=ATOL * largest, err_msg=what)
