"""What layers are timed on: numbers as nets have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Bottom:
    """How one bottom is made. learns: whether it gets a gradient."""

    draw: Draw
    learns: bool = True


def normal(*shape: int) -> Bottom:
    """Normally distributed numbers."""
    return Bottom(lambda random: random.standard_normal(shape, np.float32))


def between(low: float, high: float, *shape: int) -> Bottom:
    """Evenly distributed numbers."""
    return Bottom(lambda random: random.uniform(low, high, shape).astype(np.float32))


def shares(*shape: int) -> Bottom:
    """Numbers of which those along axis 1 sum up to 1, without a gradient."""

    def draw(random: np.random.Generator) -> np.ndarray:
        numbers: np.ndarray = random.uniform(0.1, 1, shape).astype(np.float32)
        numbers /= numbers.sum(axis=1, keepdims=True)
        return numbers

    return Bottom(draw, learns=False)


def labels(classes: int, *shape: int) -> Bottom:
    """Whole numbers below `classes`, without a gradient."""
    return Bottom(lambda random: random.integers(classes, size=shape).astype(np.float32), False)


def regions(images: int, count: int) -> Bottom:
    """Boxes on images of 600 x 1000 pixels, without a gradient."""

    def draw(random: np.random.Generator) -> np.ndarray:
        corners = np.sort(random.uniform(0, 1, (count, 2, 2)), axis=1) * (1000, 600)
        numbers = random.integers(images, size=count)
        return np.column_stack([numbers, corners.reshape(count, 4)]).astype(np.float32)

    return Bottom(draw, learns=False)


def ssd_priors(count: int) -> Bottom:
    """Boxes of many sizes all over the image, with SSD's variances."""

    def draw(random: np.random.Generator) -> np.ndarray:
        centres, sizes = random.random((count, 2)), random.uniform(0.05, 0.6, (count, 2))
        boxes = np.concatenate((centres - sizes / 2, centres + sizes / 2), axis=1)
        variances = np.tile([0.1, 0.1, 0.2, 0.2], (count, 1))
        priors: np.ndarray = np.stack((boxes, variances)).reshape(1, 2, -1).astype(np.float32)
        return priors

    return Bottom(draw, learns=False)


def ssd_scores(images: int, priors: int, classes: int) -> Bottom:
    """Scores of which one in a hundred is above a quarter, as those of a trained net."""

    def draw(random: np.random.Generator) -> np.ndarray:
        scores: np.ndarray = 0.25 * random.random((images, priors * classes), np.float32)
        scores[random.random(scores.shape, np.float32) < 0.01] *= 4
        return scores

    return Bottom(draw, learns=False)


def ssd_boxes(images: int, each: int, classes: int) -> Bottom:
    """Boxes of objects, as AnnotatedData gives them."""

    def draw(random: np.random.Generator) -> np.ndarray:
        rows = np.zeros((1, 1, images * each, 8), np.float32)
        rows[..., 0] = np.repeat(np.arange(images), each)
        rows[..., 1] = random.integers(1, classes, images * each)
        rows[..., 3:5] = random.uniform(0, 0.5, (images * each, 2))
        rows[..., 5:7] = rows[..., 3:5] + random.uniform(0.1, 0.5, (images * each, 2))
        return rows

    return Bottom(draw, learns=False)


def marks(steps: int, samples: int) -> Bottom:
    """The marks of sequences that begin at the first step."""
    return Bottom(
        lambda _: np.repeat(np.arange(steps) > 0, samples).reshape(steps, samples), learns=False
    )


def ones(*shape: int) -> Bottom:
    """Ones, without a gradient."""
    return Bottom(lambda _: np.ones(shape, np.float32), False)
