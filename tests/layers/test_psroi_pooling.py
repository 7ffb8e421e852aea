"""PSROIPooling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.regions import psroi_pool

RANDOM = np.random.default_rng(0)


def layer(outputs: int, group: int, scale: float) -> str:
    block = f"output_dim: {outputs} group_size: {group} spatial_scale: {scale}"
    return f'type: "PSROIPooling" psroi_pooling_param {{ {block} }}'


def boxes(count: int, scale: float) -> np.ndarray:
    """Inside of the maps and beyond, some of them turned round."""
    corners = RANDOM.uniform(-3, 12, (count, 4)) / scale
    return np.column_stack([RANDOM.integers(2, size=count), corners]).astype(np.float32)


@pytest.mark.parametrize("case", golden_cases("PSROIPooling"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize(("outputs", "group"), [(1, 1), (3, 2), (2, 3), (1, 7)])
@pytest.mark.parametrize("scale", [0.0625, 0.3, 1, 2.5])
def test_value_is_that_of_a_loop(outputs: int, group: int, scale: float, ops: Ops) -> None:
    x = RANDOM.standard_normal((2, outputs * group**2, 8, 9)).astype(np.float32)
    rois = boxes(11, scale)
    (top,) = make_layer(layer(outputs, group, scale), [x, rois], ops=ops).forward()
    expected = psroi_pool(x, rois, outputs, group, scale)
    np.testing.assert_allclose(top, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("outputs", "group"), [(1, 1), (3, 2), (1, 3)])
@pytest.mark.parametrize("scale", [0.3, 1])
def test_gradient(outputs: int, group: int, scale: float) -> None:
    x = RANDOM.standard_normal((2, outputs * group**2, 4, 5))
    assert check_layer_gradient(layer(outputs, group, scale), [x, boxes(5, scale)], bottoms=[0])


def test_float32_gradient_is_the_transpose(ops: Ops) -> None:
    x = RANDOM.standard_normal((2, 12, 8, 9)).astype(np.float32)
    rois = boxes(11, 0.3)
    run = make_layer(layer(3, 2, 0.3), [x, rois], ops=ops)
    (top,) = run.forward()
    gradient = RANDOM.standard_normal(top.shape).astype(np.float32)
    run.top[0].diff.write()[...] = gradient
    run.bottom[1].diff.write()[...] = 1
    run.backward([True, True])
    found = (run.bottom[0].diff.read() * x).sum(dtype=np.float64)
    np.testing.assert_allclose(found, (gradient * top).sum(dtype=np.float64), rtol=1e-4)
    assert not run.bottom[1].diff.read().any()


@pytest.mark.parametrize("rois", [np.zeros((0, 5)), np.zeros((3, 5, 1, 1))])
def test_shapes_of_regions(rois: np.ndarray, ops: Ops) -> None:
    run = make_layer(layer(3, 2, 1), [np.ones((2, 12, 4, 4)), rois], ops=ops)
    (top,) = run.forward()
    assert top.shape == (len(rois), 3, 2, 2)
    np.testing.assert_array_equal(top, 1)
    run.backward([True, False])


def test_a_region_of_no_image_is_refused(ops: Ops) -> None:
    for row, message in (
        ([2, 0, 0, 1, 1], "expected a sample 0 to 1 in row 1, got 2"),
        ([0, np.nan, 0, 1, 1], "expected a finite corner in row 1, got nan"),
    ):
        bottoms = [np.ones((2, 12, 4, 4)), [[0, 0, 0, 1, 1], row]]
        with pytest.raises(LabelError, match=message):
            make_layer(layer(3, 2, 1), bottoms, ops=ops).forward()


def test_what_does_not_fit_is_refused() -> None:
    x, rois = np.ones((2, 12, 4, 4)), np.zeros((2, 5))
    with pytest.raises(ShapeError, match="expected 8 channels, output_dim 2 times group_size 2 sq"):
        make_layer(layer(2, 2, 1), [x, rois])
    with pytest.raises(ShapeError, match=r"'bottom_0': expected 4 axes \(N, C, H, W\)"):
        make_layer(layer(3, 2, 1), [np.ones((2, 12)), rois])
    for block, message in (
        ("output_dim: 3 group_size: 2", "spatial_scale: expected a number above 0"),
        (
            "output_dim: 3 group_size: 2 spatial_scale: 1e30",
            "spatial_scale: expected .* at most 1e\\+06, got 1e\\+30",
        ),
        ("spatial_scale: 1 group_size: 2", "output_dim: expected at least 1, got 0"),
        ("spatial_scale: 1 output_dim: 3", "group_size: expected at least 1, got 0"),
        ("spatial_scale: 1 output_dim: 3 group_size: -2", "group_size: expected at least 1"),
    ):
        with pytest.raises(NetError, match=message):
            make_layer(f'type: "PSROIPooling" psroi_pooling_param {{ {block} }}', [x, rois])
