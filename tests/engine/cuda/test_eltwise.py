"""Eltwise and Split on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity

COUNTS = (1, 7, 1009)  # one, a prime, more than one block
PARAMS = (
    "operation: SUM",
    "operation: PROD",
    "operation: PROD stable_prod_grad: false",
    "operation: MAX",
)


def layer(bottoms: int, param: str) -> str:
    names = " ".join(f'bottom: "x{index}"' for index in range(bottoms))
    return f'type: "Eltwise" {names} top: "y" eltwise_param {{ {param} }}'


def random(count: int, bottoms: int) -> list[np.ndarray]:
    """Small whole numbers: some are equal."""
    numbers = np.random.default_rng(count).integers(-2, 3, (bottoms, count))
    return list(numbers + 0.5)


@pytest.mark.parametrize("param", PARAMS)
@pytest.mark.parametrize("bottoms", [2, 3, 9])
@pytest.mark.parametrize("count", COUNTS)
def test_equals_the_numpy_engine(
    param: str, bottoms: int, count: int, cuda_runtime: CudaRuntime
) -> None:
    check_parity(cuda_runtime, layer(bottoms, param), random(count, bottoms))


@pytest.mark.parametrize("param", PARAMS)
@pytest.mark.parametrize("wanted", [(True, False), (False, True), (True, False, True)])
def test_gradients_that_nobody_wants_are_left_out(
    param: str, wanted: tuple[bool, ...], cuda_runtime: CudaRuntime
) -> None:
    bottoms = random(13, len(wanted))
    check_parity(cuda_runtime, layer(len(wanted), param), bottoms, propagate_down=wanted)


@pytest.mark.parametrize("bottoms", [2, 4, 5])
def test_coefficients_equal_the_numpy_engine(bottoms: int, cuda_runtime: CudaRuntime) -> None:
    param = " ".join(f"coeff: {number}" for number in (1, -1, 0.5, 0, 3)[:bottoms])
    check_parity(cuda_runtime, layer(bottoms, param), random(53, bottoms))


@pytest.mark.parametrize("param", PARAMS)
@pytest.mark.parametrize("bottoms", [2, 3])
def test_numbers_that_are_not_finite_come_out_as_on_numpy(
    param: str, bottoms: int, cuda_runtime: CudaRuntime
) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0, 1])
    grid = np.stack(np.meshgrid(*[values] * bottoms)).reshape(bottoms, -1)
    check_parity(cuda_runtime, layer(bottoms, param), list(grid))


@pytest.mark.parametrize("tops", [1, 2, 5])
def test_split_equals_the_numpy_engine(tops: int, cuda_runtime: CudaRuntime) -> None:
    names = " ".join(f'top: "y{index}"' for index in range(tops))
    x = np.random.default_rng(tops).standard_normal((7, 11))
    check_parity(cuda_runtime, f'type: "Split" {names}', [x])
