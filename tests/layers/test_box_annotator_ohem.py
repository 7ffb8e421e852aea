"""BoxAnnotatorOHEM."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import LayerRun, make_layer

RANDOM = np.random.default_rng(0)


def annotator(
    images: np.ndarray, losses: np.ndarray, fields: str, ops: Ops | None = None, boxes: int = 8
) -> LayerRun:
    """Of regions with the labels 1, 2, ... and random weights. images, losses: (R, *plane)."""
    count, *plane = images.shape
    rois = RANDOM.uniform(0, 50, (count, 5, *plane))
    rois[:, 0] = images
    labels = np.arange(1, losses.size + 1).reshape(count, 1, *plane)
    weights = RANDOM.standard_normal((count, boxes, *plane))
    layer = f'type: "BoxAnnotatorOHEM" top: "a" top: "b" box_annotator_ohem_param {{ {fields} }}'
    return make_layer(layer, [rois, losses.reshape(labels.shape), labels, weights], ops=ops)


def hardest(images: np.ndarray, losses: np.ndarray, most: int) -> np.ndarray:
    """Which are chosen, one after the other."""
    chosen = np.zeros(losses.shape, bool)
    left = dict.fromkeys(images.ravel(), most)
    places = sorted(np.ndindex(losses.shape), key=lambda place: -losses[place])
    for place in places:
        if left[images[place]] > 0:
            left[images[place]] -= 1
            chosen[place] = True
    return chosen


@pytest.mark.parametrize("shape", [(1,), (40,), (300,), (6, 3, 2)])
@pytest.mark.parametrize("most", [1, 5, 128])
@pytest.mark.parametrize("ignore", [-1, 255])
def test_the_hardest_regions_of_each_image_are_kept(
    shape: tuple[int, ...], most: int, ignore: int, ops: Ops
) -> None:
    images, losses = RANDOM.integers(0, 3, shape), RANDOM.integers(0, 50, shape) / 8  # with ties
    fields = f"roi_per_img: {most} ignore_label: {ignore}"
    run = annotator(images, losses, fields, ops)
    labels, weights = run.forward()
    chosen = hardest(images, losses, most).reshape(len(images), 1, *shape[1:])
    full = (*chosen.shape, 1, 1)[:4]
    assert labels.shape == full
    assert weights.shape == (full[0], 8, *full[2:])
    given = [blob.data.read() for blob in run.bottom[2:]]
    np.testing.assert_array_equal(labels.reshape(chosen.shape), np.where(chosen, given[0], ignore))
    expected = np.where(chosen, given[1], 0)
    np.testing.assert_array_equal(weights.reshape(expected.shape), expected)


def test_nan_and_inf_are_the_hardest(ops: Ops) -> None:
    losses = np.array([3, np.nan, 5, np.inf, 4.0])
    run = annotator(np.zeros(5), losses, "roi_per_img: 3", ops)
    np.testing.assert_array_equal(run.forward()[0].ravel(), [-1, 2, 3, 4, -1])


def test_there_may_be_no_regions(ops: Ops) -> None:
    run = annotator(np.zeros((0, 1, 1)), np.zeros((0, 1, 1)), "roi_per_img: 2", ops)
    assert [top.shape for top in run.forward()] == [(0, 1, 1, 1), (0, 8, 1, 1)]


def test_images_are_cut_to_integers_and_may_lack_regions(ops: Ops) -> None:
    run = annotator(np.array([7, 2.9, 2.1]), np.array([1.0, 2, 3]), "roi_per_img: 1", ops)
    np.testing.assert_array_equal(run.forward()[0].ravel(), [1, -1, 3])


def test_bottoms_that_need_a_gradient_get_0(ops: Ops) -> None:
    run = annotator(np.zeros(4), np.ones(4), "roi_per_img: 2", ops)
    run.forward()
    for blob in (*run.top, *run.bottom):
        blob.diff.write()[...] = 1
    run.backward()
    for index, blob in enumerate(run.bottom):
        assert not blob.diff.read().any()
        assert not run.layer.allow_force_backward(index)


def test_labels_and_weights_are_traced_to_their_bottoms() -> None:
    run = annotator(np.zeros(4), np.ones(4), "roi_per_img: 2")
    assert run.layer.origin(0, 3, run.bottom) == (2, 3)
    assert run.layer.origin(1, 9, run.bottom) == (3, 9)


@pytest.mark.parametrize("bad", [-1, np.nan, np.inf])
def test_a_region_of_no_image_is_refused(bad: float, ops: Ops) -> None:
    run = annotator(np.array([0, 1, bad]), np.ones(3), "roi_per_img: 2", ops)
    message = f"region of sample 2 .*expected an image 0 or later in row 2, got {bad:g}. Write"
    with pytest.raises(LabelError, match=message):
        run.forward()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NetError, match=r"roi_per_img: expected at least 1, got 0\. Set it"):
        annotator(np.zeros(4), np.ones(4), "")
    layer = 'type: "BoxAnnotatorOHEM" top: "a" top: "b" box_annotator_ohem_param { roi_per_img: 2 }'
    shapes = [(4, 5), (4, 1), (4, 1), (4, 8)]
    for index, wrong in ((0, (4, 4)), (1, (4, 2)), (2, (3,)), (3, (4, 8, 2)), (1, (4, 1, 1, 1, 1))):
        changed = [*shapes]
        changed[index] = wrong
        with pytest.raises(ShapeError, match=f"'bottom_{index}': expected"):
            make_layer(layer, [np.zeros(shape) for shape in changed])
