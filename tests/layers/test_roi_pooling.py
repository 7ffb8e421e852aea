"""ROIPooling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.regions import roi_pool

RANDOM = np.random.default_rng(0)
LAYER = 'type: "ROIPooling" roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 }'


def boxes(count: int, images: int = 2) -> np.ndarray:
    """Inside of the maps and beyond, some of them turned round."""
    corners = RANDOM.uniform(-6, 24, (count, 4)).astype(np.float32)
    return np.column_stack([RANDOM.integers(images, size=count), corners]).astype(np.float32)


@pytest.mark.parametrize("case", golden_cases("ROIPooling"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("pooled", [(1, 1), (3, 2), (7, 7), (12, 5)])
@pytest.mark.parametrize("scale", [0.0625, 0.3, 0.5, 1, 3.7])
def test_value_and_gradient_are_those_of_a_loop(
    pooled: tuple[int, int], scale: float, ops: Ops
) -> None:
    x = RANDOM.integers(-5, 5, (2, 3, 8, 9)).astype(np.float32)  # with ties
    rois = boxes(11)
    rois[:, 1:] /= scale * 2
    block = f"pooled_h: {pooled[0]} pooled_w: {pooled[1]} spatial_scale: {scale}"
    run = make_layer(f'type: "ROIPooling" roi_pooling_param {{ {block} }}', [x, rois], ops=ops)
    expected, places = roi_pool(x, rois, pooled, scale)
    np.testing.assert_array_equal(run.forward()[0], expected)
    gradient = RANDOM.standard_normal(expected.shape).astype(np.float32)
    run.top[0].diff.write()[...] = gradient
    run.backward([True, False])
    sums = np.zeros(x.size)
    np.add.at(sums, places[places >= 0], gradient[places >= 0])
    np.testing.assert_allclose(run.bottom[0].diff.read().ravel(), sums, rtol=1e-5, atol=1e-5)


def test_gradient() -> None:
    x = RANDOM.permutation(2 * 2 * 8 * 9).reshape(2, 2, 8, 9) * 0.1
    assert check_layer_gradient(LAYER, [x, boxes(7)], bottoms=[0])


def test_halves_are_rounded_away_from_0(ops: Ops) -> None:
    x = np.arange(30.0).reshape(1, 1, 1, 30)
    block = "pooled_h: 1 pooled_w: 1 spatial_scale: 0.5"
    rois = [[0, 0, 0, 3, 0], [0, 0, 0, 5, 0], [0, -1, 0, 1, 0], [0, 0, 0, 0.99999994, 0]]
    run = make_layer(f'type: "ROIPooling" roi_pooling_param {{ {block} }}', [x, rois], ops=ops)
    np.testing.assert_array_equal(run.forward()[0].ravel(), [2, 3, 1, 0])


def test_nan_is_left_out(ops: Ops) -> None:
    x = np.full((1, 2, 4, 4), np.nan)
    x[0, 0, 1, 1] = -3
    block = "pooled_h: 1 pooled_w: 1"
    run = make_layer(
        f'type: "ROIPooling" roi_pooling_param {{ {block} }}', [x, [[0, 0, 0, 3, 3]]], ops=ops
    )
    lowest = np.finfo(np.float32).min
    np.testing.assert_array_equal(run.forward()[0].ravel(), [-3, lowest])
    run.top[0].diff.write()[...] = 1
    run.backward([True, False])
    found = run.bottom[0].diff.read()
    assert found.sum() == found[0, 0, 1, 1] == 1


def test_regions_far_away_are_empty(ops: Ops) -> None:
    x = np.ones((1, 1, 4, 4))
    rois = [[0, 1e9, 1e9, 2e9, 2e9], [0, -2e9, -2e9, -1e9, -1e9], [0, -1e9, -1e9, 1e9, 1e9]]
    block = "pooled_h: 1 pooled_w: 1"
    run = make_layer(f'type: "ROIPooling" roi_pooling_param {{ {block} }}', [x, rois], ops=ops)
    np.testing.assert_array_equal(run.forward()[0].ravel(), [0, 0, 1])


@pytest.mark.parametrize("rois", [np.zeros((0, 5)), np.zeros((3, 5, 1, 1))])
def test_shapes_of_regions(rois: np.ndarray, ops: Ops) -> None:
    run = make_layer(LAYER, [np.ones((2, 3, 4, 4)), rois], ops=ops)
    (top,) = run.forward()
    assert top.shape == (len(rois), 3, 3, 2)
    run.top[0].diff.write()[...] = 1
    run.bottom[1].diff.write()[...] = 1
    run.backward([True, True])
    assert run.bottom[0].diff.read().sum() == top.size
    assert not run.bottom[1].diff.read().any()
    assert [run.layer.allow_force_backward(index) for index in (0, 1)] == [True, False]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([2, 0, 0, 1, 1], "expected a sample 0 to 1 in row 1, got 2. Write regions as rows of"),
        ([-1, 0, 0, 1, 1], "expected a sample 0 to 1 in row 1, got -1"),
        ([np.nan, 0, 0, 1, 1], "expected a sample 0 to 1 in row 1, got nan"),
        ([0, 0, np.nan, 1, 1], "expected a finite corner in row 1, got nan"),
        ([0, 0, 0, 1, np.inf], "expected a finite corner in row 1, got inf"),
    ],
)
def test_a_region_of_no_image_is_refused(row: list[float], message: str, ops: Ops) -> None:
    run = make_layer(LAYER, [np.ones((2, 3, 4, 4)), [[0, 0, 0, 1, 1], row]], ops=ops)
    with pytest.raises(LabelError, match=f"region of sample 1 of the batch at .*{message}"):
        run.forward()


def test_what_does_not_fit_is_refused() -> None:
    x, rois = np.ones((2, 3, 4, 4)), np.zeros((2, 5))
    with pytest.raises(ShapeError, match=r"'bottom_0': expected 4 axes \(N, C, H, W\)"):
        make_layer(LAYER, [np.ones((2, 3)), rois])
    for shape in ((10,), (2, 4), (2, 5, 2)):
        with pytest.raises(ShapeError, match=r"'bottom_1': expected one row \(image, x1"):
            make_layer(LAYER, [x, np.zeros(shape)])
    for block, message in (
        ("pooled_w: 2", "pooled_h: expected at least 1, got 0"),
        ("pooled_h: 2", "pooled_w: expected at least 1, got 0"),
        ("pooled_h: 2 pooled_w: 2 spatial_scale: 0", "spatial_scale: expected a number above 0"),
        ("pooled_h: 2 pooled_w: 2 pooled_size: 3", "pooled_size: expected pooled_h and pooled_w"),
        ("pooled_h: 2 pooled_w: 2 pad_ratio: 0.1", "pad_ratio: expected it to be left out"),
    ):
        with pytest.raises(NetError, match=message):
            make_layer(f'type: "ROIPooling" roi_pooling_param {{ {block} }}', [x, rois])
