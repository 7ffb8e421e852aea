"""Concat, Slice and Crop on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 1, 5), (2, 4, 6), (2, 0, 3)])
def test_concat_equals_the_numpy_engine(
    sizes: tuple[int, ...], axis: int, cuda_runtime: CudaRuntime
) -> None:
    shapes = [tuple(size if i == axis else 6 for i in range(3)) for size in sizes]
    bottoms = [numbers(*shape) for shape in shapes]
    check_parity(cuda_runtime, f'type: "Concat" concat_param {{ axis: {axis} }}', bottoms)


def test_concat_takes_apart_what_is_wanted(cuda_runtime: CudaRuntime) -> None:
    bottoms = [numbers(3, 2), numbers(3, 5), numbers(3, 1)]
    check_parity(cuda_runtime, 'type: "Concat"', bottoms, propagate_down=[True, False, True])


@pytest.mark.parametrize("points", ["slice_point: 1", "slice_point: 2 slice_point: 4"])
@pytest.mark.parametrize("axis", [0, 1])
def test_slice_equals_the_numpy_engine(axis: int, points: str, cuda_runtime: CudaRuntime) -> None:
    tops = "".join(f'top: "y{i}" ' for i in range(points.count(":") + 1))
    param = f'type: "Slice" {tops} slice_param {{ axis: {axis} {points} }}'
    check_parity(cuda_runtime, param, [numbers(6, 6, 5)])


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ("axis: 0 offset: 1 offset: 0 offset: 2 offset: 3", (1, 2, 3, 5)),
        ("axis: 1 offset: 1", (2, 1, 4, 6)),
        ("axis: 2 offset: 2 offset: 0", (2, 3, 5, 11)),
        ("axis: 3 offset: 4", (2, 3, 7, 7)),
        ("axis: 0 offset: 0", (2, 3, 7, 11)),
        ("axis: 2", (2, 3, 0, 11)),
    ],
)
def test_crop_equals_the_numpy_engine(
    fields: str, shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    bottoms = [numbers(2, 3, 7, 11), np.zeros(shape)]
    check_parity(cuda_runtime, f'type: "Crop" crop_param {{ {fields} }}', bottoms)
