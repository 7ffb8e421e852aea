"""Dropout on the GPU engine: the masks are those of the CPU, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.random import Counter, Stream
from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity

STREAM = Stream(7, "drop", "dropout")


@pytest.fixture
def cuda(cuda_runtime: CudaRuntime) -> CudaOps:
    return CudaOps(cuda_runtime, np.float64)


def ones(count: int) -> Value:
    found = Value((count,), np.float64)
    found.write()[...] = 1
    return found


@pytest.mark.parametrize("count", [1, 7, 8, 9, 1009])
@pytest.mark.parametrize("position", [0, 1, 2**32 + 5])
def test_masks_equal_those_of_numpy(count: int, position: int, cuda: CudaOps) -> None:
    out = Value((count,), np.float64)
    cuda.dropout(0.3, 1.0, STREAM, Counter(position)).forward(ones(count), out=out)
    expected = STREAM.halves(position, count) >= np.uint32(round(0.3 * 2.0**32))
    np.testing.assert_array_equal(out.content(), expected)


def test_gradients_pass_where_the_last_forward_let_elements_pass(cuda: CudaOps) -> None:
    passes = Counter()
    dropout = cuda.dropout(0.5, 2.0, STREAM, passes)
    out, gradient = Value((53,), np.float64), Value((53,), np.float64)
    for passes.value in (3, 4):
        dropout.forward(ones(53), out=out)
    passes.value = 9
    dropout.backward(ones(53), out=gradient)
    np.testing.assert_array_equal(gradient.content(), out.content())
    np.testing.assert_array_equal(out.content() == 0, STREAM.halves(4, 53) < np.uint32(2**31))


def test_a_graph_draws_a_new_mask_each_time(cuda: CudaOps) -> None:
    passes = Counter()
    dropout = cuda.dropout(0.5, 1.0, STREAM, passes)
    x, out = ones(53), Value((53,), np.float64)
    dropout.forward(x, out=out)
    replay = cuda.capture(lambda: dropout.forward(x, out=out))
    for passes.value in (1, 2):
        replay()
        expected = STREAM.halves(passes.value, 53) >= np.uint32(2**31)
        np.testing.assert_array_equal(out.content(), expected)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@pytest.mark.parametrize("shape", [(1, 1), (7, 31), (0, 3)])
def test_equals_the_numpy_engine(
    names: str, shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    check_parity(
        cuda_runtime, f'type: "Dropout" {names} dropout_param {{ dropout_ratio: 0.4 }}', [x]
    )
