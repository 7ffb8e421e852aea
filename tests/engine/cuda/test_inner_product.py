"""Inner product on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.geometry import InnerProductGeometry
from tests.cuda_parity import check_parity

FILLERS = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'


@pytest.mark.parametrize("transpose", ["false", "true"])
@pytest.mark.parametrize("bias", ["false", "true"])
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (3, 2, 5, 1), (0, 4), (37, 11)])
def test_equals_the_numpy_engine(
    transpose: str, bias: str, shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    fields = f"num_output: 3 transpose: {transpose} bias_term: {bias} {FILLERS}"
    x = np.random.default_rng(0).standard_normal(shape)
    check_parity(cuda_runtime, f'type: "InnerProduct" inner_product_param {{ {fields} }}', [x])


def test_gradients_are_added_to_what_is_there(cuda_runtime: CudaRuntime) -> None:
    op = CudaOps(cuda_runtime, np.float64).inner_product(InnerProductGeometry(2, 1, 1))
    dy, x, gradient = (Value((rows, 1), np.float64) for rows in (2, 2, 1))
    dy.write()[:], x.write()[:] = 1, 3
    for expected in (6, 12):
        op.backward_params(dy, x, add_w=gradient)
        assert gradient.content() == expected
    gradient.clear()
    op.backward_params(dy, x, add_w=gradient)
    assert gradient.content() == 6
