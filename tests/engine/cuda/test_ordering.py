"""ArgMax on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity

FIELDS = ("", "out_max_val: true", "axis: 1", "axis: 1 out_max_val: true")
# a thread for each position, a block for each; one, ties, all
SIZES = ((1, 1), (7, 1), (7, 3), (7, 7), (131, 1), (131, 5), (131, 131))


@pytest.mark.parametrize(
    "fields", ["", "out_max_val: true", "axis: 1", "axis: 1 out_max_val: true"]
)
@pytest.mark.parametrize(("size", "top_k"), SIZES)
def test_equals_the_numpy_engine(
    size: int, top_k: int, fields: str, cuda_runtime: CudaRuntime
) -> None:
    x = np.random.default_rng(size).integers(0, 20, (3, size, 1 if "axis" not in fields else 2))
    param = f'type: "ArgMax" argmax_param {{ top_k: {top_k} {fields} }}'
    check_parity(cuda_runtime, param, [x], backward=False)


@pytest.mark.parametrize("size", [11, 131])
def test_nan_counts_as_largest_and_the_last_one_comes_first(
    size: int, cuda_runtime: CudaRuntime
) -> None:
    x = np.random.default_rng(0).standard_normal((2, size))
    x[0, [2, 7, 9]] = np.nan
    x[1, 3], x[1, 4:6] = -np.inf, np.inf
    param = "type: 'ArgMax' argmax_param { top_k: 6 out_max_val: true }"
    check_parity(cuda_runtime, param, [x], backward=False)
