"""Functions made of exponentials and logarithms on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity

COUNTS = (1, 7, 1009)  # one, a prime, more than one block
IN_PLACE = 'bottom: "x" top: "x"'
LAYERS = (
    'type: "ELU" elu_param { alpha: 1 }',
    'type: "ELU" elu_param { alpha: 0.3 }',
    'type: "BNLL"',
    'type: "Swish"',
    'type: "Swish" swish_param { beta: 1.7 }',
    'type: "Exp"',
    'type: "Exp" exp_param { base: 2 scale: -0.6 shift: 1.5 }',
    'type: "Log" log_param { shift: 9 }',
    'type: "Log" log_param { base: 2 scale: -0.6 shift: 9 }',
)
EXTREMES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 800.0, -800.0, 1e-30, -1e-30, 1.0]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("count", COUNTS)
def test_equals_the_numpy_engine(layer: str, count: int, cuda_runtime: CudaRuntime) -> None:
    x = np.random.default_rng(count).standard_normal((count, 1))
    check_parity(cuda_runtime, layer, [x])


@pytest.mark.parametrize("layer", LAYERS)
def test_equals_the_numpy_engine_in_place(layer: str, cuda_runtime: CudaRuntime) -> None:
    x = np.random.default_rng(0).standard_normal((53, 1))
    check_parity(cuda_runtime, f"{IN_PLACE} {layer}", [x])


@pytest.mark.parametrize("layer", LAYERS)
def test_extreme_numbers_come_out_as_on_numpy(layer: str, cuda_runtime: CudaRuntime) -> None:
    check_parity(cuda_runtime, layer, [np.array(EXTREMES)])
