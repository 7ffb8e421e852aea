"""Local response normalisation on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda import lrn
from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity

REGIONS = ("ACROSS_CHANNELS", "WITHIN_CHANNEL")


def layer(fields: str) -> str:
    return f'type: "LRN" lrn_param {{ alpha: 0.5 k: 2 {fields} }}'


def x_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("size", [1, 3, 5, 7, 23])
@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (1, 1, 1, 1), (3, 2, 1, 11), (0, 3, 2, 2)])
def test_equals_the_numpy_engine(
    region: str, size: int, shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    param = layer(f"local_size: {size} norm_region: {region}")
    check_parity(cuda_runtime, param, [x_of(shape)])


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("beta", [0.75, 0.5, 0])
def test_channels_in_segments_give_the_same(
    size: int, beta: float, cuda_runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lrn, "LEAST", 2)
    param = layer(f"local_size: {size} beta: {beta}")
    check_parity(cuda_runtime, param, [x_of((2, 11, 3, 2))])


@pytest.mark.parametrize("region", REGIONS)
def test_nan_and_infinity_reach_their_neighbours_only(
    region: str, cuda_runtime: CudaRuntime
) -> None:
    x = x_of((1, 13, 9, 9))
    x[0, 3, 2, 2], x[0, 9, 7, 7] = np.nan, np.inf
    check_parity(cuda_runtime, layer(f"local_size: 3 norm_region: {region}"), [x])
