"""Elementwise functions on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity

COUNTS = (1, 7, 1009)  # one, a prime, more than one block
LAYERS = (
    'type: "ReLU"',
    'type: "ReLU" relu_param { negative_slope: 0.1 }',
    'type: "ReLU" relu_param { negative_slope: -0.1 }',
    'type: "ReLU" bottom: "x" top: "x" relu_param { negative_slope: -0.1 }',
    'type: "Sigmoid"',
    'type: "TanH"',
    'type: "Power" power_param { power: 3 scale: 0.5 shift: 1 }',
    'type: "Power" bottom: "x" top: "x" power_param { power: 2 }',
    'type: "Power" power_param { scale: 2 shift: -1 }',
    'type: "Power" power_param { power: 0 }',
    'type: "AbsVal"',
    'type: "Clip" clip_param { min: -0.5 max: 0.25 }',
    'type: "Clip" bottom: "x" top: "x" clip_param { min: -0.5 max: 0.25 }',
)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("count", COUNTS)
def test_equals_the_numpy_engine(layer: str, count: int, cuda_runtime: CudaRuntime) -> None:
    x = np.random.default_rng(count).standard_normal((count, 1))
    check_parity(cuda_runtime, layer, [x])


@pytest.mark.parametrize("layer", LAYERS)
def test_numbers_that_are_not_finite_come_out_as_on_numpy(
    layer: str, cuda_runtime: CudaRuntime
) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, -1e300])
    check_parity(cuda_runtime, layer, [x])


def test_thresholds_equal_the_numpy_engine(cuda_runtime: CudaRuntime) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 0.5, 0.75, -1.0])
    layer = 'type: "Threshold" threshold_param { threshold: 0.5 }'
    check_parity(cuda_runtime, layer, [x], backward=False)
