"""Reduction and Tile, which sum along axes, on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity

# rows that a thread sums up, that a block does, that several do
REDUCED = ((1, 1), (7, 63), (3, 64), (2, 5003), (4, 0))
# gradients that a thread sums up, in parts, whose copies are side by side, of none
TILED = (((3, 5), 4), ((2, 3), 131), ((7, 1), 67), ((1, 1), 4099), ((0, 3), 2))


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
@pytest.mark.parametrize("shape", REDUCED)
def test_reduction_equals_the_numpy_engine(
    shape: tuple[int, ...], operation: str, cuda_runtime: CudaRuntime
) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    x.reshape(-1)[::7] = 0  # ASUM has the slope 0 there
    param = f'type: "Reduction" reduction_param {{ operation: {operation} axis: 1 coeff: 0.7 }}'
    check_parity(cuda_runtime, param, [x])


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
def test_reduction_hands_nan_on(operation: str, cuda_runtime: CudaRuntime) -> None:
    x = np.array([[1.0, np.nan, -2.0], [1.0, 2.0, -np.inf]])
    param = f'type: "Reduction" reduction_param {{ operation: {operation} axis: 1 }}'
    check_parity(cuda_runtime, param, [x])


@pytest.mark.parametrize(("shape", "tiles"), TILED)
def test_tile_equals_the_numpy_engine(
    shape: tuple[int, ...], tiles: int, cuda_runtime: CudaRuntime
) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    check_parity(cuda_runtime, f'type: "Tile" tile_param {{ axis: 1 tiles: {tiles} }}', [x])
