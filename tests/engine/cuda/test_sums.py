"""Sums, fills and losses on the GPU engine, and the loads and stores of vectors under them."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.cuda.totals import ChannelTotals
from caffepy.engine.ops.geometry import AxisGeometry


@pytest.fixture
def cuda(cuda_runtime: CudaRuntime) -> CudaOps:
    return CudaOps(cuda_runtime, np.float64)


def value(content: np.ndarray) -> Value:
    found = Value(content.shape, np.float64)
    found.write()[...] = content
    return found


def shifted(cuda: CudaOps, content: np.ndarray) -> Value:
    """A value whose memory begins one element behind where vectors may."""
    found = value(content)
    memory = cuda.layout.zeros(content.size + 1, found.dtype)
    found.move_to(memory[1:], cuda.layout)
    return found


@pytest.mark.parametrize("sizes", [(1,), (7, 1), (4097,), (1, 20000, 0, 4096)])
def test_a_loss_is_the_weighted_sum_of_all_elements(sizes: tuple[int, ...], cuda: CudaOps) -> None:
    random = np.random.default_rng(0)
    contents = [random.standard_normal(size) for size in sizes]
    weights = [0.5 + index for index in range(len(sizes))]
    out = Value((), np.float64)
    cuda.weighted_sum(weights).forward([value(each) for each in contents], out=out)
    expected = sum(weight * each.sum() for weight, each in zip(weights, contents, strict=True))
    np.testing.assert_allclose(out.content(), expected, rtol=1e-12)


def test_the_loss_of_nothing_is_0(cuda: CudaOps) -> None:
    out = value(np.array(7.0))
    cuda.weighted_sum(()).forward([], out=out)
    assert out.content() == 0


def test_a_loss_of_minus_0_counts_as_0_with_others(cuda: CudaOps) -> None:
    out = Value((), np.float64)
    cuda.weighted_sum((1.0, 1.0)).forward([value(np.array([-0.0]))] * 2, out=out)
    assert out.content() == 0


@pytest.mark.parametrize("terms", [1, 2, 6])
def test_a_sum_may_overwrite_its_first_term(terms: int, cuda: CudaOps) -> None:
    contents = np.random.default_rng(terms).standard_normal((terms, 5))
    values = [value(each) for each in contents]
    cuda.sum().forward(values, out=values[0])
    np.testing.assert_allclose(values[0].content(), contents.sum(axis=0), rtol=1e-12)


def test_a_fill_leaves_one_number_everywhere(cuda: CudaOps) -> None:
    out = Value((3, 11), np.float64)
    cuda.fill(2.5).forward(out=out)
    np.testing.assert_array_equal(out.content(), np.full((3, 11), 2.5))


@pytest.mark.parametrize("count", [1, 7, 64])
def test_memory_where_no_vectors_can_be_read_gives_the_same(count: int, cuda: CudaOps) -> None:
    x, y = np.random.default_rng(count).standard_normal((2, count))
    out = shifted(cuda, np.zeros(count))
    cuda.eltwise_sum((1.0, -2.0)).forward([value(x), shifted(cuda, y)], out=out)
    np.testing.assert_array_equal(out.content(), x - 2 * y)
    cuda.absolute().forward(value(x), out=out)
    np.testing.assert_array_equal(out.content(), np.abs(x))


@pytest.mark.parametrize("shape", [(3, 2, 68), (2, 1, 4160), (3, 2, 17), (200, 3, 4)])
def test_the_order_of_sums_does_not_depend_on_where_memory_begins(
    shape: tuple[int, int, int], cuda: CudaOps
) -> None:
    dy, x = np.random.default_rng(0).standard_normal((2, *shape))
    totals = ChannelTotals(cuda, AxisGeometry(*shape))
    sums = []
    for place in (value, lambda content: shifted(cuda, content)):
        out, out_x = Value(shape[1:2], np.float64), Value(shape[1:2], np.float64)
        totals.take("sum_and_dot", place(dy), place(x))
        totals.give(out=out)
        totals.give(1, out=out_x)
        sums.append((out.content(), out_x.content()))
    np.testing.assert_array_equal(*sums)
    np.testing.assert_allclose(sums[0], [dy.sum((0, 2)), (dy * x).sum((0, 2))], rtol=1e-9)
